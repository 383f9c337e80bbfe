"""`/docs` and the problem pages in a browser: the first Execute works, light and dark, without a complaint."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.harness.service_process import ROOT, Service

MINUTE = 60_000.0


@pytest.fixture(params=["light", "dark"])
def docs(browser: Browser, service: Service, request: pytest.FixtureRequest) -> Iterator[Page]:
    """`/docs` in a fresh tab; what its console complains about fails the test."""
    context = browser.new_context(color_scheme=request.param)
    page = context.new_page()
    page.set_default_timeout(5 * MINUTE)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{service.url}/docs")
    yield page
    context.close()
    assert complaints == []


def test_the_first_execute_of_denoise_works(docs: Page) -> None:
    operation = docs.locator("#operations-denoise-denoise")
    operation.locator(".opblock-summary").click()
    operation.locator("[data-property-name=image] input[type=file]").set_input_files(ROOT / "examples" / "noisy.png")
    operation.get_by_role("button", name="Execute").click()
    status = operation.locator(".live-responses-table tbody .response-col_status").first
    expect(status).to_have_text("202", timeout=MINUTE)


def test_the_quickstart_names_this_service_and_colours_follow_the_system(docs: Page, service: Service) -> None:
    assert docs.locator(".quickstart code").first.inner_text().count(service.url) == 1
    dark = docs.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    for element in ("body", ".opblock-tag-section"):
        docs.locator(element).first.wait_for()
        colour = docs.evaluate(
            "name => getComputedStyle(document.querySelector(name)).color.match(/\\d+/g).slice(0, 3).map(Number)",
            element,
        )
        assert (sum(colour) > 380) == dark, (element, colour)


def test_a_type_is_a_page(docs: Page, service: Service) -> None:
    docs.goto(f"{service.url}/problems")
    docs.get_by_role("link", name="No such job").click()
    expect(docs.get_by_role("heading", level=1)).to_have_text("No such job")
