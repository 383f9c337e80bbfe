"""A model made on the page: from a dropped folder to the next image denoised by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from b2s_client import Client
from tests.harness.service_process import Service
from tests.page.conftest import Visit
from tests.page.sets import IMAGES, SIDE, write_set
from tests.page.test_page import canvas

PHASES = ["Send", "Wait for a worker", "Look at the files", "Train", "Judge", "Publish"]
WATCH_PHASES = """
window.phases = [];
new MutationObserver(() => {
  const now = document.querySelector('#tune-phases [aria-current]')?.textContent;
  if (now && window.phases.at(-1) !== now) window.phases.push(now);
  if (!document.querySelector('#tune-steps').textContent.includes('step')) return;
  window.live = Math.max(window.live ?? 0, document.querySelectorAll('#tune-charts polyline').length);
}).observe(document.querySelector('#tune-live'), { subtree: true, childList: true, attributes: true });
"""
COMPARED = "!document.querySelector('#compare-stage').hidden || !document.querySelector('#error').hidden"


def start(visit: Visit, folder: Path, name: str, steps: int) -> None:
    """Drop a set and begin."""
    page = visit.page
    page.evaluate(WATCH_PHASES)
    visit.drop("#tune-drop", folder)
    visit.until(f"document.querySelector('#tune-chosen').textContent.startsWith('{IMAGES + 1} files')")
    page.fill("#tune-name", name)
    page.fill("#tune-most-steps", str(steps))
    page.click("#tune-start")


def newest(visit: Visit, kind: str) -> dict[str, Any]:
    """The newest job of a kind, as the API shows it."""
    found: dict[str, Any] = httpx.get(f"{visit.service.url}/jobs", params={"kind": kind, "limit": 1}).json()["jobs"][0]
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("set") / "scans")


@pytest.fixture
def tuned(service: Service, folder: Path) -> str:
    """Name of a fine-tune that has succeeded: the page's own, or where it was not run, one of our making."""
    done = httpx.get(f"{service.url}/jobs", params={"kind": "finetune", "state": "succeeded"}).json()["jobs"]
    if not done:
        with Client(service.url) as client:
            client.finetune(folder, name="waves", max_steps=6)
    return "waves"


def test_a_set_becomes_a_model_that_denoises_the_next_image(visit: Visit, folder: Path) -> None:
    page = visit.page
    start(visit, folder, "waves", steps=6)
    visit.until(COMPARED)
    assert page.locator("#error").is_hidden(), page.inner_text("#error")
    assert page.evaluate("window.phases") == PHASES
    assert page.evaluate("window.live") >= 1  # a curve was drawn while it trained
    assert page.locator("#tune-phases .done").count() == len(PHASES)
    titles = page.locator("#tune-charts figcaption strong").all_inner_texts()
    assert titles[0] == "Held-out score" and titles[-1] == "Noise curve"

    job = newest(visit, "finetune")
    report = httpx.get(f"{visit.service.url}{job['links']['report']}").json()
    said = page.inner_text("#tune-verdict")
    assert ("The new model beats its base" in said) == report["promoted"]
    assert report["promoted"] or page.locator("#tune-verdict .warning").count() > 0
    assert ("not promoted" in page.inner_text("#tune-use")) != report["promoted"]
    assert f"{report['scores']['finetuned']:.2f} dB" in said and f"{IMAGES} files" in said
    page.click("#tune-verdict summary")
    assert "notes.txt" in page.inner_text("#tune-verdict details")
    the_line_is_the_fit(visit, report["noise"])

    assert page.locator("#compare-file option").count() == IMAGES
    assert f"{SIDE} × {SIDE}" in page.inner_text("#compare-note")
    page.select_option("#compare-left", "noisy")
    rough = np.abs(np.diff(canvas(visit, "#compare-canvas"), axis=0))
    middle = rough.shape[1] // 2
    assert rough[:, 50 : middle - 50].mean() > 1.2 * rough[:, middle + 50 : -50].mean()  # the new model is on the right
    assert page.evaluate("document.querySelector('#tune-picture').naturalWidth") > 1000

    page.click("#tune-use")
    assert page.input_value("#model") == report["model"]
    assert page.evaluate("document.activeElement.id") == "model"
    visit.upload(folder / "run-1" / "field-0.png")
    assert (newest(visit, "denoise")["model"], newest(visit, "denoise")["state"]) == (report["model"], "succeeded")
    with page.expect_download() as download:
        page.click("#tune-weights")
    assert download.value.suggested_filename == f"{report['model']}.safetensors"
    mark = "" if report["promoted"] else ", not promoted"
    row = page.locator("#models li", has_text=f"waves (gray{mark})").first
    row.locator("summary").click()
    assert report["base_model"] in row.inner_text()


def test_a_failed_comparison_leaves_the_fine_tune_on_the_page(visit: Visit, folder: Path) -> None:
    page = visit.page
    page.route(
        "**/denoise", lambda route: route.fulfill(status=422, json={"title": "Not compared", "detail": "No such luck."})
    )
    start(visit, folder, "lonely", steps=6)
    visit.until("document.querySelector('#compare-note').textContent.includes('No such luck')")
    assert page.locator("#tune-result").is_visible() and page.locator("#error").is_hidden()
    assert page.locator("#tune-verdict table").is_visible() and page.locator("#compare-stage").is_hidden()
    visit.complaints.clear()  # the browser itself logs the 422


def the_line_is_the_fit(visit: Visit, noise: dict[str, Any]) -> None:
    """The drawn line is α·max(mean − black, 0) + σ² on the axes of the drawn dots."""
    figure = visit.page.locator("#tune-charts figure").last
    dots = np.array(
        figure.locator("svg[role=img] circle").evaluate_all(
            "all => all.map(dot => [+dot.getAttribute('cx'), +dot.getAttribute('cy')])"
        )
    )
    line = np.array(
        [point.split(",") for point in str(figure.locator("svg[role=img] polyline").get_attribute("points")).split()],
        float,
    )
    assert noise["black"] > 0  # the set has a pedestal, so that the line has its kink
    mean, variance = np.array(noise["curve"]["mean"]), np.array(noise["curve"]["variance"])
    shown = variance <= np.sort(variance)[len(dots) - 1]  # those that stray far are left out
    assert len(dots) == shown.sum() > 0.8 * len(mean)
    to_mean, to_variance = np.polyfit(dots[:, 0], mean[shown], 1), np.polyfit(dots[:, 1], variance[shown], 1)
    x = np.polyval(to_mean, line[:, 0])
    fitted = noise["alpha"] * np.maximum(x - noise["black"], 0) + noise["sigma"] ** 2
    np.testing.assert_allclose(np.polyval(to_variance, line[:, 1]), fitted, atol=0.01 * variance.max())


@pytest.mark.parametrize(
    "visit",
    [{"viewport": {"width": 360, "height": 740}}, {"color_scheme": "dark"}],
    ids=["phone", "dark"],
    indirect=True,
)
def test_an_earlier_one_is_opened_from_the_list_without_barriers(tuned: str, visit: Visit) -> None:
    """By keyboard: the set is no longer at hand, so the report's picture compares the models."""
    page = visit.page
    page.locator(f"button[aria-label='Open finetune {tuned}']").press("Enter")
    visit.until("!document.querySelector('#tune-result').hidden")
    assert page.locator("#tune-charts figure").count() >= 2 and page.locator("#compare").is_hidden()
    assert visit.barriers() == []
    assert visit.fits()
    page.locator("#tune-use").press("Enter")
    assert page.input_value("#model").startswith("mdl_")


def test_canceled_in_mid_training_it_leaves_no_model(visit: Visit, folder: Path) -> None:
    page = visit.page
    before = page.locator("#model option").count()
    start(visit, folder, "endless", steps=100_000)
    visit.until("document.querySelector('#tune-steps').textContent.includes('step')")
    assert visit.barriers() == []  # while it trains
    page.click("button[aria-label='Cancel finetune endless']")
    visit.until("document.querySelector('#tune-verdict').textContent.includes('canceled')")
    assert page.locator("#tune-result").is_hidden()
    assert page.locator("#tune-phases .stopped").all_text_contents() == ["Train, stopped"]
    page.reload()
    visit.until("document.querySelector('#model').options.length > 1")
    assert page.locator("#model option").count() == before


def test_a_set_that_is_too_small_is_said_with_the_reasons_by_keyboard_alone(visit: Visit, folder: Path) -> None:
    page = visit.page
    with page.expect_file_chooser() as chooser:
        page.locator("#tune-files").press("Enter")
    chooser.value.set_files([folder / "run-1" / "field-0.png", folder / "notes.txt"])
    visit.until("!document.querySelector('#tune-start').disabled")
    reached = []
    for _ in range(10):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    assert reached == [
        "tune-folder",
        "tune-name",
        "tune-base",
        "tune-quality",
        "tune-method",
        "tune-frames",
        "tune-noise",
        "tune-minutes",
        "tune-most-steps",
        "tune-start",
    ]
    page.keyboard.press("Enter")
    visit.until("document.querySelector('#tune-verdict').textContent.includes('notes.txt')")
    assert page.locator("#tune-result").is_hidden() and page.locator("#error").is_hidden()
