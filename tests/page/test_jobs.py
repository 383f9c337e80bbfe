"""The job list: fresh by itself, worked by keyboard; and folders dropped for denoising."""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np
from PIL import Image
from playwright.sync_api import Route

from tests.harness import pictures
from tests.page.conftest import Visit
from tests.page.sets import IMAGES, write_set

ROWS = "[...document.querySelectorAll('#jobs tbody tr')]"


def test_a_job_of_somebody_else_comes_up_by_itself(visit: Visit) -> None:
    posted = httpx.post(
        f"{visit.service.url}/denoise", content=pictures.png(1).data, headers={"Content-Type": "image/png"}
    ).json()
    visit.until(f"{ROWS}.some(row => row.dataset.job === '{posted['id']}' && row.textContent.includes('succeeded'))")
    httpx.delete(f"{visit.service.url}{posted['links']['self']}")
    visit.until(f"{ROWS}.every(row => row.dataset.job !== '{posted['id']}')")


def test_cancel_and_delete_by_keyboard_keep_the_focus_in_the_list(visit: Visit) -> None:
    jobs = [
        httpx.post(
            f"{visit.service.url}/denoise", content=pictures.many_tiles().data, headers={"Content-Type": "image/png"}
        ).json()["id"]
        for _ in range(2)
    ]
    page = visit.page
    focused = "document.activeElement.closest('tr')?.dataset.job"
    row = f"#jobs tr[data-job={jobs[0]}]"
    for job in jobs:
        page.wait_for_selector(f"#jobs tr[data-job={job}] button:text('Cancel')")
    page.locator(f"{row} button:text('Cancel')").press("Enter")
    page.wait_for_selector(f"{row} button:text('Delete')")  # the row was made anew in the meantime
    assert page.evaluate(focused) == jobs[0]
    assert "canceled" in page.inner_text(row)
    page.locator(f"{row} button:text('Delete')").press("Enter")
    page.wait_for_selector(row, state="detached")
    assert page.evaluate("document.activeElement.closest('tr') !== null")
    httpx.post(f"{visit.service.url}/jobs/{jobs[1]}/cancel")


def test_a_dropped_folder_is_denoised_with_what_lies_below_it(visit: Visit, tmp_path: Path) -> None:
    folder = write_set(tmp_path / "scans")
    visit.drop("#drop", folder)
    done = f"{ROWS}.filter(row => /field-.*succeeded/.test(row.textContent))"
    visit.until(f"{done}.length === {IMAGES}")
    named = f"{ROWS}.filter(row => row.cells[0].textContent.includes('notes.txt')).length"
    assert visit.page.evaluate(named) == 0  # a fine-tune's row may say that it left the file out
    visit.until("document.querySelector('#status').textContent.includes('field-5.png is done')")
    error = visit.page.inner_text("#error")
    assert "notes.txt" in error and "not an image" in error  # still there, though others came after it
    visit.complaints.clear()  # the browser itself logs the 415


def test_a_busy_service_costs_no_file_of_a_batch(visit: Visit, tmp_path: Path) -> None:
    """Every upload and every look at a job is first told to come back in a second, or meets no service at all."""
    seen: set[str] = set()
    keys: list[str] = []

    def busy(route: Route) -> None:
        request = route.request
        key = request.headers.get("idempotency-key", "")
        keys.extend([key] if key else [])
        if (what := key or request.url) in seen:
            return route.continue_()
        seen.add(what)
        if len(seen) == 2:
            return route.abort()
        return route.fulfill(status=429, headers={"Retry-After": "1"}, json={"title": "Busy", "detail": "Come back."})

    visit.page.route("**/denoise", busy)
    visit.page.route("**/jobs/*", busy)
    files = [tmp_path / f"busy-{number}.png" for number in range(3)]
    for number, path in enumerate(files):
        Image.fromarray(np.full((40, 60), 50 * number, np.uint8)).save(path)
    before = {job["id"] for job in httpx.get(f"{visit.service.url}/jobs?limit=200").json()["jobs"]}
    visit.upload(*files)
    assert visit.page.locator("#error").is_hidden(), visit.page.inner_text("#error")
    rows = f"{ROWS}.filter(row => /busy-.*succeeded/.test(row.textContent)).length"
    visit.until(f"{rows} === {len(files)}")
    made = {job["id"] for job in httpx.get(f"{visit.service.url}/jobs?limit=200").json()["jobs"]} - before
    assert len(made) == len(set(keys)) == len(files)
    assert len(keys) == 2 * len(files)
    visit.complaints.clear()  # the browser itself logs the 429


def test_a_batch_without_a_key_stops_at_the_first_file(visit: Visit, tmp_path: Path) -> None:
    sent: list[str] = []

    def refuse(route: Route) -> None:
        sent.append(route.request.url)
        route.fulfill(status=401, json={"title": "No key", "detail": "Give a key."})

    visit.page.route("**/denoise", refuse)
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((40, 60), np.uint8)).save(tmp_path / name)
    visit.page.set_input_files("#files", [tmp_path / "a.png", tmp_path / "b.png"])
    visit.until("document.querySelector('#key-dialog').open")
    visit.page.keyboard.press("Escape")
    visit.until("document.querySelector('#status').textContent.includes('2 of 2 files were not denoised')")
    assert len(sent) == 1 and "a.png" in visit.page.inner_text("#error")
    visit.complaints.clear()  # the browser itself logs the 401
