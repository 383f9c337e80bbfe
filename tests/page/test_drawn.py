"""What browsers do not show by themselves: the service draws it, before and after."""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.harness import files, pictures
from tests.page.conftest import Visit
from tests.page.test_page import canvas, put, saved


def check_before_and_after(visit: Visit, name: str, data: bytes, folder: Path) -> None:
    """Upload it, and look at both sides and at what was taken out."""
    visit.upload(saved(folder, name, data))
    page = visit.page
    assert page.locator("#error").is_hidden(), page.locator("#error").inner_text()
    assert "the service's picture" in page.locator("#unshown").inner_text()
    both = canvas(visit)
    middle, roughness = both.shape[1] // 2, np.abs(np.diff(both, axis=0))
    assert roughness[:, 50 : middle - 50].mean() > 1.5 * roughness[:, middle + 50 : -50].mean()
    page.check("input[value=residual]")
    taken_out = canvas(visit)
    assert abs(np.median(taken_out) - 128) < 12 and 10 < taken_out.std() < 80
    page.check("input[value=split]")
    assert page.locator("#preview").is_disabled() and page.locator("#apply").is_enabled()
    with page.expect_download() as download:
        page.click("#download")
    assert "-denoised" in download.value.suggested_filename


def noisy(seed: int = 0) -> np.ndarray:
    """A scene of 12 bits with noise."""
    y, x = np.mgrid[:320, :400]
    clean = 1800 + 900 * np.sin(x / 37) * np.cos(y / 23)
    return np.random.default_rng(seed).normal(clean, 250).clip(0, 4095)


def test_fits_dicom_and_raw_before_and_after(visit: Visit, tmp_path: Path) -> None:
    check_before_and_after(visit, "sky.fits", files.fits(noisy().astype(np.float32)), tmp_path)
    assert visit.page.locator("#page-label").is_hidden()
    check_before_and_after(visit, "slice.dcm", files.dicom(noisy().astype(np.uint16)), tmp_path)
    check_before_and_after(visit, "photo.dng", files.dng((256 + 3 * noisy()).astype(np.uint16)), tmp_path)
    visit.page.reload()  # the upload is no longer at hand, and drawn all the same
    visit.page.locator("#jobs button", has_text="Open").first.click()
    visit.until("document.querySelector('#status').textContent.startsWith('The result is open')")
    both = canvas(visit)
    middle, roughness = both.shape[1] // 2, np.abs(np.diff(both, axis=0))
    assert roughness[:, 50 : middle - 50].mean() > 1.5 * roughness[:, middle + 50 : -50].mean()
    visit.upload(saved(tmp_path, "plain.png", pictures.png(1).data))  # and the browser's own formats as before
    assert visit.page.locator("#unshown").is_hidden() and visit.page.locator("#preview").is_enabled()


def test_the_pages_of_a_stack_are_drawn_as_they_are_turned_to(visit: Visit, tmp_path: Path) -> None:
    dark = noisy(1)
    dark[:, 200:] /= 8
    stack = np.stack([noisy(), dark]).astype(np.float32)
    visit.upload(saved(tmp_path, "series.fits", files.fits(stack)))
    page = visit.page
    assert page.inner_text("#page-shown") == "1 of 2"
    put(visit, "#split", 0)
    first = canvas(visit)
    put(visit, "#page", 1)
    page.wait_for_timeout(500)
    for _ in range(100):
        second = canvas(visit)
        if abs(second - first).mean() > 10:
            break
        page.wait_for_timeout(100)
    right = second[:, second.shape[1] // 2 + 60 : -30]
    assert right.mean() < second[:, 30 : second.shape[1] // 2 - 60].mean() - 40
    assert page.inner_text("#page-shown") == "2 of 2"


@pytest.mark.parametrize(
    "visit", [{}, {"viewport": {"width": 360, "height": 740}}], ids=["wide", "phone"], indirect=True
)
def test_a_drawn_image_has_no_barrier(visit: Visit, tmp_path: Path) -> None:
    visit.upload(saved(tmp_path, "sky.fits", files.fits(noisy().astype(np.float32))))
    assert visit.barriers() == []
    assert visit.fits()


def test_mosaic_and_lines_are_options_of_the_page(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    page.select_option("#mosaic", "bayer")
    page.select_option("#lines", "remove")
    visit.upload(saved(tmp_path, "sites.png", pictures.png(1).data))
    [job] = httpx.get(f"{visit.service.url}/jobs", params={"kind": "denoise", "limit": 1}).json()["jobs"]
    assert (job["options"]["mosaic"], job["options"]["lines"]) == ("bayer", "remove")
    assert any("mosaic" in warning for warning in job["result"]["warnings"])
    page.select_option("#mosaic", "")
    page.select_option("#lines", "")
    visit.upload(saved(tmp_path, "gray.png", pictures.png(1).data))
    [job] = httpx.get(f"{visit.service.url}/jobs", params={"kind": "denoise", "limit": 1}).json()["jobs"]
    assert (job["options"]["mosaic"], job["options"]["lines"]) == ("auto", "auto")
