"""The page in a real Chromium over a real service with real workers. `make test-page`."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.harness.service_process import Service, running_service
from tests.page import sets

PATIENCE = 400.0  # a fine-tune, on a machine that others share
BROWSERS = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")


@dataclass
class Visit:
    """A page and what its console complained about."""

    page: Page
    service: Service
    complaints: list[str] = field(default_factory=list)

    def upload(self, *files: Path) -> None:
        """Choose files, and wait until the last of them is done or has failed."""
        self.page.set_input_files("#files", list(files))
        self.until(
            f"document.querySelector('#status').textContent.includes({files[-1].name!r} + ' is done')"
            " || !document.querySelector('#error').hidden"
        )

    def drop(self, zone: str, path: Path) -> None:
        """Drag a file or a folder of this machine onto an element, as a person does with the mouse."""
        self.page.locator(zone).scroll_into_view_if_needed()
        box = self.page.locator(zone).bounding_box()
        assert box is not None
        session = self.page.context.new_cdp_session(self.page)
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
            session.send("Input.dispatchDragEvent", {"type": kind, **place, "data": data})

    def barriers(self) -> list[tuple[str, list[str]]]:
        """What axe finds serious or worse, with the elements that have it."""
        found = Axe().run(self.page).response["violations"]
        serious = [each for each in found if each["impact"] in ("serious", "critical")]
        return [(each["id"], [node["html"] for node in each["nodes"]]) for each in serious]

    def fits(self) -> bool:
        """Whether nothing has to be scrolled sideways to."""
        fits: bool = self.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        return fits

    def until(self, expression: str) -> None:
        """Wait for a JavaScript expression; Playwright's own wait needs `eval`, which the page's policy forbids."""
        deadline = time.monotonic() + PATIENCE
        while not self.page.evaluate(expression):
            assert time.monotonic() < deadline, f"{expression}: never; status {self.page.inner_text('#status')!r}"
            self.page.wait_for_timeout(100)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A Chromium of this machine: `B2S_CHROMIUM`, or the first of the usual names on PATH."""
    path = os.environ.get("B2S_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.fail("No Chromium on PATH: install one (apt install chromium), or name it with B2S_CHROMIUM=/path.")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("page"), **sets.ENVIRONMENT) as started:
        yield started


def opened(context: BrowserContext, service: Service) -> Visit:
    """A tab on the page that keeps what its console complains about."""
    page = context.new_page()
    page.set_default_timeout(1000 * PATIENCE)
    made = Visit(page, service)

    def listen(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            made.complaints.append(message.text)

    page.on("console", listen)
    page.on("pageerror", lambda error: made.complaints.append(str(error)))
    page.goto(service.url)
    return made


@pytest.fixture
def visit(browser: Browser, service: Service, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A fresh tab on the page; a console error fails the test."""
    context = browser.new_context(**getattr(request, "param", {}))
    made = opened(context, service)
    page = made.page
    made.until("document.querySelector('#model').options.length > 1")
    yield made
    if os.environ.get("B2S_SCREENSHOTS"):
        page.screenshot(path=f"{os.environ['B2S_SCREENSHOTS']}/{request.node.name}.png", full_page=True)
    context.close()
    assert made.complaints == []
