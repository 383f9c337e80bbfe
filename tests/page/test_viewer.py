"""The viewer by mouse, touch and keyboard, and the ways an image comes onto the page."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.harness import files, pictures
from tests.page.conftest import Visit
from tests.page.test_drawn import noisy
from tests.page.test_page import canvas, colours, put, saved

PASTE = """([name, data]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const clipboardData = new DataTransfer();
  clipboardData.items.add(new File([bytes], name, { type: "image/png" }));
  document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
}"""


def done(visit: Visit, name: str) -> None:
    visit.until(f"document.querySelector('#status').textContent.includes('{name} is done')")


def zoom(visit: Visit) -> float:
    """What the read-out says, in percent."""
    return float(visit.page.inner_text("#zoom").removesuffix(" %").replace(",", ""))


def middle(visit: Visit) -> tuple[float, float, float]:
    """Middle of the picture in the window, and its width."""
    visit.page.locator("#canvas").scroll_into_view_if_needed()
    box = visit.page.locator("#canvas").bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, box["width"]


def test_a_first_visit_tries_the_example_and_the_picture_takes_the_screen(visit: Visit) -> None:
    page = visit.page
    assert page.locator("#intro img").count() == 2 and page.locator("#viewer-section").is_hidden()
    page.click("#example")
    done(visit, "example.png")
    box = page.locator("#canvas").bounding_box()
    height = page.evaluate("innerHeight")
    assert box is not None and box["height"] > 0.5 * height and 0 <= box["y"] < height / 2
    assert page.locator("#intro").is_hidden()
    drop = page.locator("#drop").bounding_box()
    assert drop is not None and drop["height"] < 80  # a bar
    download = page.locator("#download").bounding_box()
    assert download is not None and download["y"] + download["height"] <= height  # in reach without scrolling


def test_the_whole_window_takes_drops_and_pastes(visit: Visit, tmp_path: Path) -> None:
    visit.drop("header", saved(tmp_path, "dropped.png", pictures.png(1).data))
    done(visit, "dropped.png")
    visit.page.evaluate(PASTE, ["pasted.png", base64.b64encode(pictures.png(2).data).decode()])
    done(visit, "pasted.png")


def test_open_brings_the_picture_into_view(visit: Visit, tmp_path: Path) -> None:
    visit.upload(saved(tmp_path, "seen.png", pictures.png(1).data))
    page = visit.page
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.locator("button[aria-label='Open seen.png']").first.click()
    visit.until("document.querySelector('#canvas').getBoundingClientRect().top >= 0 && scrollY < innerHeight / 2")


def test_the_divider_is_dragged_itself_and_the_picture_beside_it(visit: Visit, tmp_path: Path) -> None:
    visit.upload(saved(tmp_path, "scene.png", pictures.png(1).data))
    mouse = visit.page.mouse
    x, y, width = middle(visit)
    mouse.move(x, y)
    mouse.down()
    mouse.move(x - width / 4, y)
    mouse.up()
    assert abs(float(visit.page.input_value("#split")) - 0.25) < 0.02
    before = colours(visit)
    mouse.move(x + 100, y)
    mouse.down()
    mouse.move(x + 160, y + 20)
    mouse.up()
    assert abs(float(visit.page.input_value("#split")) - 0.25) < 0.02
    assert not np.array_equal(colours(visit), before)


def test_the_wheel_zooms_only_when_it_is_meant(visit: Visit, tmp_path: Path) -> None:
    visit.upload(saved(tmp_path, "scene.png", pictures.png(1).data))
    page = visit.page
    x, y, _ = middle(visit)
    page.mouse.move(x, y)
    start, scrolled = zoom(visit), page.evaluate("scrollY")
    page.mouse.wheel(0, 120)
    visit.until(f"scrollY > {scrolled}")
    assert zoom(visit) == start
    x, y, _ = middle(visit)
    page.mouse.move(x, y)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)
    page.keyboard.up("Control")
    visit.until(f"document.querySelector('#zoom').textContent !== '{start:g} %'")
    assert zoom(visit) > start
    page.click("#fit")
    assert zoom(visit) == start
    page.focus("#canvas")
    page.evaluate("scrollTo(0, 0)")
    x, y, _ = middle(visit)
    page.mouse.move(x, y)
    page.mouse.wheel(0, 200)  # the whole image is in view: there is nothing to zoom out to
    visit.until("scrollY > 0")
    assert zoom(visit) == start


@pytest.mark.parametrize(
    "visit", [{"viewport": {"width": 390, "height": 800}, "has_touch": True}], ids=["phone"], indirect=True
)
def test_two_fingers_zoom_and_two_taps_show_pixels(visit: Visit, tmp_path: Path) -> None:
    visit.upload(saved(tmp_path, "scene.png", pictures.png(1).data))
    start = zoom(visit)
    x, y, _ = middle(visit)
    session = visit.page.context.new_cdp_session(visit.page)

    def touch(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": left, "y": top, "id": number} for number, (left, top) in enumerate(places)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", (x - 40, y))
    touch("touchStart", (x - 40, y), (x + 40, y))
    for wide in range(50, 130, 10):
        touch("touchMove", (x - wide, y), (x + wide, y))
    touch("touchEnd")
    assert 2 < zoom(visit) / start < 4  # 40 → 120 pixels
    visit.page.click("#fit")
    x, y, _ = middle(visit)
    for _ in range(2):
        touch("touchStart", (x + 60, y))
        touch("touchEnd")
    assert zoom(visit) == (100 if start < 100 else pytest.approx(2 * start, rel=0.01))


def test_by_key_the_divider_moves_and_before_is_flipped_to(visit: Visit, tmp_path: Path) -> None:
    visit.upload(saved(tmp_path, "scene.png", pictures.png(1).data))
    page = visit.page
    page.focus("#canvas")
    page.keyboard.press("]")
    assert float(page.input_value("#split")) > 0.5
    put(visit, "#split", 0)
    after = colours(visit)
    page.keyboard.down("b")
    assert page.inner_text("#tag-left") == "Before" and page.locator("#tag-right").is_hidden()
    flipped = colours(visit)
    page.keyboard.up("b")
    assert np.abs(np.diff(flipped, axis=0)).mean() > 1.3 * np.abs(np.diff(after, axis=0)).mean()
    np.testing.assert_array_equal(colours(visit), after)


def test_the_pixel_under_the_cursor_is_told_in_the_file_s_units(visit: Visit, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(30_000, 2000, (64, 96)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", values, photometric="minisblack")
    visit.upload(tmp_path / "deep.tif")
    x, y, _ = middle(visit)
    visit.page.mouse.move(x + 3, y + 3)
    place, _, told = visit.page.inner_text("#pixel").partition(": ")
    column, row = map(int, place.split(", "))
    assert int(told.split(" → ")[0]) == values[row, column]


def test_black_and_white_do_not_cross_and_auto_contrast_shows_dark_images(visit: Visit, tmp_path: Path) -> None:
    dark = np.random.default_rng(0).normal(12, 3, (128, 128)).clip(0, 255).astype(np.uint8)
    tifffile.imwrite(tmp_path / "dark.tif", dark, photometric="minisblack")
    visit.upload(tmp_path / "dark.tif")
    page = visit.page
    black = colours(visit).mean()
    page.click("#contrast")
    assert colours(visit).mean() > black + 40 and float(page.input_value("#high")) < 40
    put(visit, "#low", 255)
    low, high = (float(page.input_value(name)) for name in ("#low", "#high"))
    assert high - low == 1
    put(visit, "#high", 0)
    assert float(page.input_value("#high")) - float(page.input_value("#low")) == 1


def test_the_controls_are_those_of_the_image_opened_last(visit: Visit, tmp_path: Path) -> None:
    visit.upload(saved(tmp_path, "deep.tif", pictures.tiff16().data))
    visit.upload(saved(tmp_path, "sky.fits", files.fits(noisy().astype(np.float32))))
    most = float(visit.page.get_attribute("#high", "max") or 0)
    assert most == 255  # of the service's picture, which is what is seen
    before = colours(visit).mean()
    put(visit, "#high", most / 2)
    assert colours(visit).mean() > before + 10  # and they work


def test_gain_makes_what_was_taken_out_stronger(visit: Visit, tmp_path: Path) -> None:
    visit.upload(saved(tmp_path, "scene.png", pictures.png(1).data))
    visit.page.check("input[value=residual]")
    once = canvas(visit).std()
    put(visit, "#gain", 2)
    assert canvas(visit).std() > 1.4 * once


def test_an_open_service_does_not_say_that_it_asks_for_a_key(visit: Visit) -> None:
    visit.page.click("#key-open")
    said = visit.page.inner_text("#key-reason")
    assert "asks for a key" not in said and "none is needed" in said
