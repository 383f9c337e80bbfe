"""Jobs by their names: found again after a reload, by their own address; deleted, and that undone."""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from tests.harness import pictures
from tests.page.conftest import Visit
from tests.page.test_page import canvas, newest, saved

LISTED = "document.querySelectorAll('#jobs tbody tr').length"


def test_before_and_after_survive_a_reload_by_the_job_s_own_address(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    visit.upload(saved(tmp_path, "kept.png", pictures.png(1).data))
    job = newest(visit)["id"]
    assert page.evaluate("location.search") == f"?job={job}"
    page.reload()
    visit.until("document.querySelector('#status').textContent.startsWith('The result is open')")
    both = canvas(visit)
    middle, roughness = both.shape[1] // 2, np.abs(np.diff(both, axis=0))
    assert roughness[:, 50 : middle - 50].mean() > 1.5 * roughness[:, middle + 50 : -50].mean()
    assert page.get_attribute("#download", "download") == "kept-denoised.png"
    cells = page.locator(f"#jobs tr[data-job={job}] td").all_inner_texts()
    assert cells[0] == "kept.png" and cells[2].startswith("base-") and "×" in cells[3] and cells[4].endswith(" s")


def test_a_deletion_can_be_undone(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    Image.fromarray(np.full((40, 60), 90, np.uint8)).save(tmp_path / "undone.png")
    visit.upload(tmp_path / "undone.png")
    job = newest(visit)
    address = f"{visit.service.url}{job['links']['self']}"
    page.click("button[aria-label='Delete undone.png']")
    page.wait_for_selector(f"#jobs tr[data-job={job['id']}]", state="detached")
    assert "undone.png" in page.inner_text("#jobs-undo-said")
    page.click("#jobs-undo-button")
    page.wait_for_selector(f"#jobs tr[data-job={job['id']}]")
    page.wait_for_timeout(7000)
    assert httpx.get(address).json()["deleted_at"] is None
    page.click("button[aria-label='Delete undone.png']")
    page.reload()  # who leaves does not undo
    visit.until(f"fetch('{job['links']['self']}').then(answer => answer.json()).then(job => job.deleted_at !== null)")
    visit.complaints.clear()  # the address still names the job that is gone


def test_more_than_twenty_jobs_are_shown_and_filtered(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    Image.fromarray(np.full((16, 16), 90, np.uint8)).save(tmp_path / "tiny.png")
    data = (tmp_path / "tiny.png").read_bytes()
    for number in range(24):
        httpx.post(f"{visit.service.url}/denoise", files={"image": (f"tile-{number:02}.png", data)}).raise_for_status()
    page.fill("#jobs-filter", "tile-")
    visit.until(f"{LISTED} === 20 && !document.querySelector('#jobs-more').hidden")
    page.click("#jobs-more")
    visit.until(f"{LISTED} === 24 && document.querySelector('#jobs-more').hidden")
    page.fill("#jobs-filter", "TILE-07")
    visit.until(f"{LISTED} === 1")
    page.select_option("#jobs-state", "failed")
    visit.until(f"{LISTED} === 0")
