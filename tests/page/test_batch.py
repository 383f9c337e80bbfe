"""Many files dropped at once: one job, a table of what came of each, one archive."""

from __future__ import annotations

import zipfile
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.harness import files, pictures
from tests.page.conftest import Visit

COUNT = 10
SAID = "document.querySelector('#batch-said').textContent"


def write_many(folder: Path) -> list[Path]:
    """Ten small images, and between them one that is none."""
    folder.mkdir()
    paths = []
    for number in range(COUNT):
        paths.append(folder / f"{number:02}.png")
        paths[-1].write_bytes(b"no image" if number == 4 else files.png(files.noise((24, 32, 1), seed=number)))
    return paths


def test_many_files_are_one_job_with_a_row_each_and_one_archive(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    page.set_input_files("#files", write_many(tmp_path / "many"))
    visit.until(f"{SAID}.startsWith('9 of 10 images done; 1 could not be denoised')")
    rows = page.locator("#batch-files tr").all_inner_texts()
    assert len(rows) == COUNT and rows[0].startswith("00.png") and "denoised, noise α" in rows[0]
    assert "not an image" in rows[4] and "Download" not in rows[4]
    jobs = httpx.get(f"{visit.service.url}/jobs", params={"limit": 1}).json()["jobs"]
    assert jobs[0]["input"]["files"] == COUNT and f"?job={jobs[0]['id']}" in page.url
    with page.expect_download() as download:
        page.get_by_role("button", name="Download all (zip)").click()
    download.value.save_as(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert len([name for name in archive.namelist() if name.endswith(".png")]) == COUNT - 1
    with page.expect_download() as download:
        page.get_by_role("button", name="Download 07.png").click()
    assert download.value.suggested_filename == "07-denoised.png"
    with Image.open(download.value.path()) as image:
        assert image.size == (32, 24)
    assert visit.barriers() == []


def test_an_image_of_a_batch_opens_beside_its_upload_and_after_a_reload_without(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    page.set_input_files("#files", write_many(tmp_path / "many"))
    page.get_by_role("button", name="Open 03.png").click()
    visit.until("document.querySelector('#status').textContent === '03.png is open.'")
    assert not page.is_disabled("#apply")
    assert page.get_attribute("#download", "download") == "03-denoised.png"
    visit.until("document.querySelector('#report').textContent.includes('What was found')")
    visit.until("document.querySelector('#batch-bar').hidden")
    page.reload()
    visit.until(f"{SAID}.startsWith('9 of 10 images done')")
    page.get_by_role("button", name="Open 09.png").click()
    visit.until("document.querySelector('#status').textContent === '09.png is open.'")
    assert page.is_disabled("#apply")


@pytest.mark.parametrize("visit", [{"viewport": {"width": 390, "height": 800}, "color_scheme": "dark"}], indirect=True)
def test_the_rest_of_a_batch_is_canceled_and_what_is_done_stays(visit: Visit) -> None:
    """Sent by somebody else, opened from the list while it runs."""
    large = pictures.many_tiles().data
    sent = [("images", (f"{number}.png", large, "image/png")) for number in range(6)]
    job = httpx.post(f"{visit.service.url}/denoise", files=sent, timeout=60).json()
    page = visit.page
    page.locator(f"#jobs tr[data-job={job['id']}]").get_by_role("button", name="Watch").click()
    visit.until(f"/^[1-5] of 6 images done/.test({SAID})")
    page.get_by_role("button", name="Cancel the rest").click()
    visit.until("document.querySelector('#batch-bar').hidden")
    text = page.inner_text("#batch-files")
    assert "denoised" in text and "canceled" in text
    assert visit.fits() and visit.barriers() == []
