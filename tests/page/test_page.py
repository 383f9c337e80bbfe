"""What a person does on the page, done by a real browser."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps
from playwright.sync_api import Route

from tests.harness import pictures
from tests.page.conftest import Visit


def saved(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def canvas(visit: Visit, name: str = "#canvas") -> np.ndarray[Any, Any]:
    """What the middle of a canvas shows, a square as high as it less a focus ring, in luma."""
    shot = visit.page.locator(name).screenshot()
    luma = np.asarray(Image.open(io.BytesIO(shot)).convert("L"), np.float64)
    side = min(luma.shape) - 16
    top, left = (luma.shape[0] - side) // 2, (luma.shape[1] - side) // 2
    return luma[top : top + side, left : left + side]


def put(visit: Visit, control: str, value: float) -> None:
    """Move a slider as a person does: its value, then its event."""
    visit.page.locator(control).evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input', { bubbles: true })) }",
        value,
    )


def test_an_image_before_and_after(visit: Visit, tmp_path: Path) -> None:
    visit.upload(saved(tmp_path, "scene.png", pictures.png(1).data))
    page = visit.page
    assert page.locator("#error").is_hidden(), page.locator("#error").inner_text()
    assert "The noise before was" in page.locator("#report .verdict").inner_text()
    assert "Noise before" not in page.locator("#report").inner_text()  # folded
    page.click("#report summary")
    assert "Noise before" in page.locator("#report").inner_text()
    both = canvas(visit)
    middle, roughness = both.shape[1] // 2, np.abs(np.diff(both, axis=0))
    assert roughness[:, 50 : middle - 50].mean() > 1.5 * roughness[:, middle + 50 : -50].mean()  # before is left of it
    put(visit, "#split", 1)
    whole = np.abs(np.diff(canvas(visit), axis=0))
    assert whole[:, middle + 50 : -50].mean() > 1.2 * roughness[:, middle + 50 : -50].mean()
    page.check("input[value=residual]")
    assert abs(np.median(canvas(visit)) - 128) < 12
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "scene-denoised.png"


def test_16_bit_through_a_window(visit: Visit, tmp_path: Path) -> None:
    picture = pictures.tiff16()
    visit.upload(saved(tmp_path, "deep.tif", picture.data))
    assert visit.page.locator("#error").is_hidden(), visit.page.locator("#error").inner_text()
    assert visit.page.locator("#canvas").is_visible()
    assert float(visit.page.locator("#high").get_attribute("max") or 0) > 40_000
    before = canvas(visit).mean()
    put(visit, "#high", float(visit.page.locator("#high").get_attribute("max") or 0) / 2)
    assert canvas(visit).mean() > before + 20  # brighter


def test_16_bit_colours_count_all_in_the_window(visit: Visit, tmp_path: Path) -> None:
    """The number of samples over the sample's size is a multiple of three: red must not stand for all."""
    pixels = np.random.default_rng(0).integers(20_000, 40_000, (512, 512, 3), dtype=np.uint16)
    pixels[..., 0] = 100 + pixels[..., 0] % 7
    path = tmp_path / "dark-red.tif"
    tifffile.imwrite(path, pixels, photometric="rgb")
    visit.upload(path)
    assert float(visit.page.locator("#high").get_attribute("max") or 0) > 20_000


def test_a_stack_page_by_page(visit: Visit, tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(
        path, np.stack([np.full((64, 80), 9000 * (n + 1), np.uint16) for n in range(3)]), photometric="minisblack"
    )
    visit.upload(path)
    assert visit.page.locator("#page-shown").inner_text() == "1 of 3"
    first = np.median(canvas(visit))
    put(visit, "#page", 2)
    assert visit.page.locator("#page-shown").inner_text() == "3 of 3" and np.median(canvas(visit)) > first + 100


def test_strength_is_a_blend_seen_at_once_and_made_by_the_download(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    visit.upload(saved(tmp_path, "scene.png", pictures.png(1).data))
    put(visit, "#split", 0)
    full = colours(visit)
    before = len(httpx.get(f"{visit.service.url}/jobs?limit=200").json()["jobs"])
    put(visit, "#strength", 0)
    assert np.abs(np.diff(colours(visit), axis=0)).mean() > 1.3 * np.abs(np.diff(full, axis=0)).mean()
    put(visit, "#strength", 0.5)
    half = colours(visit)
    assert len(httpx.get(f"{visit.service.url}/jobs?limit=200").json()["jobs"]) == before  # nothing was asked for
    with page.expect_download() as download:
        page.click("#download")
    assert newest(visit)["options"]["strength"] == 0.5
    assert np.abs(colours(visit) - half).mean() < 1  # what the service made is what was shown
    shown = np.asarray(Image.open(download.value.path()).convert("RGB"), np.float64)
    assert abs(shown.mean() - np.asarray(pictures.png(1).noisy, np.float64).mean()) < 2


def newest(visit: Visit) -> dict[str, Any]:
    """The newest denoise job, as the API shows it."""
    found: dict[str, Any] = httpx.get(f"{visit.service.url}/jobs", params={"kind": "denoise", "limit": 1}).json()
    return dict(found["jobs"][0])


def opens(visit: Visit, name: str) -> None:
    visit.page.click(f"button[aria-label='Open {name}']")


def test_the_image_opened_last_is_shown_with_its_own_download(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    late = saved(tmp_path, "late.png", pictures.png(3).data)
    Image.fromarray(np.full((40, 60), 90, np.uint8)).save(tmp_path / "quick.png")
    for path in (late, tmp_path / "quick.png"):
        visit.upload(path)
        page.wait_for_selector(f"button[aria-label='Open {path.name}']")
    held: list[Route] = []
    page.route("**/result", lambda route: route.continue_() if held else held.append(route))
    opens(visit, "late.png")
    page.wait_for_timeout(300)
    opens(visit, "quick.png")
    page.wait_for_timeout(1000)
    held[0].continue_()
    page.wait_for_timeout(1500)
    assert "quick.png, 60 × 40" in str(page.get_attribute("#canvas", "aria-label"))
    assert page.get_attribute("#download", "download") == "quick-denoised.png"


def test_a_preview_shows_the_panel_s_settings_and_leaves_no_job(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    Image.fromarray(np.tile(np.arange(700, dtype=np.uint8), (600, 1))).save(tmp_path / "wide.png")
    visit.upload(tmp_path / "wide.png")
    rows = page.locator("#jobs tbody tr").count()
    page.click("#preview")
    visit.until("document.querySelector('#status').textContent.startsWith('Preview of 512')")
    job = newest(visit)
    assert job["options"]["roi"].endswith("512,512")
    visit.until(f"fetch('{job['links']['self']}').then(answer => answer.json()).then(job => job.deleted_at !== null)")
    page.reload()
    visit.until("document.querySelectorAll('#jobs tbody tr').length > 0")
    assert page.locator("#jobs tbody tr").count() <= max(rows, 20)
    assert page.locator(f"#jobs tr[data-job={job['id']}]").count() == 0


def colours(visit: Visit) -> np.ndarray[Any, Any]:
    """The pixels that the canvas holds, (H, W, 3)."""
    url = str(visit.page.evaluate("document.querySelector('#canvas').toDataURL()"))
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"), np.int64)


def test_a_gray_image_stays_gray_in_another_format(visit: Visit, tmp_path: Path) -> None:
    """Browsers read a gray PNG as RGB, and the result is a TIFF of one channel."""
    page = visit.page
    page.select_option("#format", "tiff")
    visit.upload(saved(tmp_path, "gray.png", pictures.png(1).data))
    page.check("input[value=residual]")
    taken_out = colours(visit)
    assert (taken_out == taken_out[..., :1]).all() and taken_out.std() > 10
    page.check("input[value=split]")
    put(visit, "#split", 0)
    full = colours(visit)
    for _ in range(4):
        page.locator("#canvas").press("+")
    page.click("#preview")
    visit.until("document.querySelector('#status').textContent.startsWith('Preview')")
    size = [int(part) for part in re.findall(r"\d+", page.inner_text("#status"))[:2]]
    assert min(size) < pictures.SIDE  # a part only
    page.locator("#canvas").press("0")
    assert np.abs(colours(visit) - full).mean() < 1  # at the strength of the result, in the crop and around it


def test_transparency_does_not_shift_the_residual(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    page.select_option("#format", "tiff")
    gray = pictures.png(1).noisy
    Image.fromarray(np.dstack([gray, gray, gray, np.full_like(gray, 255)])).save(tmp_path / "clear.png")
    visit.upload(tmp_path / "clear.png")
    page.check("input[value=residual]")
    taken_out = colours(visit)
    rows = taken_out[..., 1][:, taken_out.shape[1] // 2 - 100 : taken_out.shape[1] // 2 + 100]
    assert abs(np.median(rows) - 128) < 12 and rows.std() < 50  # noise about the middle gray, no picture


@pytest.mark.parametrize("orientation", [6, 3])
def test_a_turned_photograph_is_previewed_as_stored(visit: Visit, tmp_path: Path, orientation: int) -> None:
    """A sign in the stored image's left upper corner tells how it is turned, and which part is in view."""
    page = visit.page
    clean = np.full((384, 512, 3), 60, np.uint8)
    clean[:96, :128] = 220
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(clean).save(tmp_path / "photo.jpg", quality=95, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "photo.jpg")).convert("L"), np.float64)
    visit.upload(tmp_path / "photo.jpg")
    put(visit, "#split", 0)
    full = colours(visit)
    scale = min(full.shape[0] / upright.shape[0], full.shape[1] / upright.shape[1])
    for y, x in ((0.1, 0.1), (0.1, 0.9), (0.9, 0.1), (0.9, 0.9)):
        row = round(full.shape[0] / 2 + (y - 0.5) * upright.shape[0] * scale)
        column = round(full.shape[1] / 2 + (x - 0.5) * upright.shape[1] * scale)
        wanted = upright[round(y * upright.shape[0]), round(x * upright.shape[1])]
        assert abs(full[row, column, 1] - wanted) < 12
    for _ in range(6):
        page.locator("#canvas").press("+")
    for _ in range(8):
        page.locator("#canvas").press("ArrowRight")
        page.locator("#canvas").press("ArrowUp")
    page.click("#preview")
    visit.until("document.querySelector('#status').textContent.startsWith('Preview')")
    assert page.locator("#error").is_hidden()
    job = httpx.get(f"{visit.service.url}/jobs", params={"kind": "denoise", "limit": 1}).json()["jobs"][0]
    x, y, width, height = map(int, job["options"]["roi"].split(","))
    assert x + width <= 512 and y + height <= 384
    # Right and up as seen: for 6, the stored image's left upper part; for 3, its left lower part.
    assert x + width / 2 < 256 and (y + height / 2 < 192) == (orientation == 6)
    page.locator("#canvas").press("0")
    assert np.abs(colours(visit) - full).mean() < 2


SHOW_REPORT = """async (report) => {
  const place = document.createElement("div");
  (await import(new URL("report.js", document.querySelector("script[src]").src))).showReport(place, report);
  return place.textContent;
}"""


def test_a_report_says_whose_its_rows_are_and_does_without_a_black_level(visit: Visit) -> None:
    noise = {"noise_std_in": 0.1, "alpha": 0.01, "sigma": 0.02, "alpha_native": 2.5, "sigma_native": 5.0}
    rest = {
        "noise_std_out": 0.02,
        "residual_mean": 0.0,
        "residual_std_ratio": 1.0,
        "residual_autocorrelation": [0.0, 0.0, 0.0],
        "residual_signal_correlation": 0.0,
        "clipped_share": 0.0,
        "warnings": [],
    }
    one = visit.page.evaluate(SHOW_REPORT, {**noise, **rest})
    assert "noisiest" not in one and "2.5 and 5" in one and "at brightness" not in one
    assert "at brightness" not in visit.page.evaluate(SHOW_REPORT, {**noise, **rest, "black_native": None})
    many = visit.page.evaluate(SHOW_REPORT, {**noise, **rest, "channels": [{**noise, "black_native": 7}, noise]})
    assert many.count("noisiest") == 1 and many.count("at brightness 7") == 1


def test_a_warning_is_one_line_however_many_channels_and_nothing_is_all_clear(visit: Visit) -> None:
    grouped = """async (warnings) => {
      const module = await import(new URL("report.js", document.querySelector("script[src]").src));
      return module.grouped(warnings);
    }"""
    many = [f"channel {n}: {n}.5 % of the noise is left: lower it" for n in range(1, 11)]
    said = visit.page.evaluate(grouped, [*many, "channel 2: more was taken out than noise", "the whole is dark"])
    assert len(said) == 3 and said[0].startswith("Channels 1, 2, 3, 4, 5, 6, 7, 8, 9, 10: ")
    assert said[1:] == ["Channel 2: more was taken out than noise", "The whole is dark"]


def test_models_are_told_apart_and_have_a_card(visit: Visit) -> None:
    page = visit.page
    row = page.locator("#models li", has_text="base-gray (gray)")
    row.locator("summary").click()
    card = row.inner_text()
    assert "ships with the service" in card and "BSDS500" in card and row.locator("button").count() == 0
    titled = """async (model) => {
      const module = await import(new URL("models.js", document.querySelector("script[src]").src));
      return module.titleOf(model);
    }"""
    told = [
        visit.page.evaluate(titled, {"name": "x", "channels": 1, "promoted": promoted})
        for promoted in (True, False, None)
    ]
    assert told == ["x (gray)", "x (gray, not promoted)", "x (gray)"]


def test_what_is_wrong_is_said_with_its_remedy(visit: Visit, tmp_path: Path) -> None:
    visit.upload(saved(tmp_path, "note.txt", b"this is no image"))
    text = visit.page.locator("#error").inner_text()
    assert "Request" in text and len(text) > 60
    visit.complaints.clear()  # the browser itself logs the 415
    visit.upload(saved(tmp_path, "broken.png", pictures.broken_png()))
    assert "broken.png" in visit.page.locator("#error").inner_text()


def test_a_job_is_canceled_and_deleted(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    page.set_input_files("#files", saved(tmp_path, "long.png", pictures.many_tiles().data))
    page.click("button[aria-label='Cancel long.png']")
    visit.until("document.querySelector('#error').textContent.includes('canceled')")
    page.click("button[aria-label='Delete long.png']")
    page.wait_for_selector("button[aria-label='Delete long.png']", state="detached")


def test_by_keyboard_alone(visit: Visit, tmp_path: Path) -> None:
    visit.upload(saved(tmp_path, "scene.png", pictures.png(1).data))
    page = visit.page
    reached = set()
    page.locator("body").press("Tab")
    for _ in range(40):
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
        page.keyboard.press("Tab")
    assert {
        "files",
        "folder",
        "model",
        "strength",
        "canvas",
        "split",
        "low",
        "high",
        "preview",
        "apply",
        "download",
    } <= reached
    page.focus("#canvas")
    before = canvas(visit)
    page.keyboard.press("+")
    assert not np.array_equal(canvas(visit), before)
    page.keyboard.press("0")
    np.testing.assert_array_equal(canvas(visit), before)


@pytest.mark.parametrize(
    "visit",
    [{}, {"viewport": {"width": 360, "height": 740}}, {"color_scheme": "dark"}],
    ids=["wide", "phone", "dark"],
    indirect=True,
)
def test_no_barrier_and_no_sideways_scrolling(visit: Visit, tmp_path: Path) -> None:
    visit.upload(saved(tmp_path, "scene.png", pictures.png(1).data))
    assert visit.barriers() == []
    assert visit.fits()
