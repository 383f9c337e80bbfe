"""Previews: what a screen shows of every kind of image, before and after, under one window."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
import rawpy
from PIL import Image

from images import look
from images.decode import decode_here
from images.decoded import Decoded
from images.encode import encode
from store.preview import Preview
from tests.harness import files
from worker import preview as previews
from worker.errors import Refused

Array = np.ndarray[Any, Any]


def image(array: Array, write: Any = files.tiff) -> Decoded:
    return decode_here(write(array))


def shown(after: Decoded, before: Decoded | None = None, camera: Decoded | None = None, **asked: Any) -> Array:
    """The picture's pixels, (h, w) or (h, w, 3)."""
    data = previews.draw(Preview.model_validate(asked), after, before, camera or after)
    picture = Image.open(io.BytesIO(data))
    assert picture.format == "PNG" and picture.mode in ("L", "RGB") and picture.info == {}
    assert chunks(data) == {b"IHDR", b"IDAT", b"IEND"}
    return np.asarray(picture)


def chunks(data: bytes) -> set[bytes]:
    found, at = set(), 8
    while at < len(data):
        found.add(data[at + 4 : at + 8])
        at += struct.unpack_from(">I", data, at)[0] + 12
    return found


def ramp(dtype: str, low: float, high: float, shape: tuple[int, int] = (40, 60)) -> Array:
    return np.linspace(low, high, shape[0] * shape[1]).reshape(shape).astype(dtype)


def test_8_bit_is_shown_as_it_is() -> None:
    gray, colour = files.noise((30, 40)), files.noise((30, 40, 3))
    assert np.array_equal(shown(image(gray)), gray)
    assert np.array_equal(shown(image(colour)), colour)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint32", "int32", "float32", "float64"])
def test_deep_samples_are_stretched_between_percentiles(dtype: str) -> None:
    pixels = ramp(dtype, 1000, 3000)
    picture = shown(image(pixels)).astype(float)
    low, high = np.percentile(pixels, (0.2, 99.8))
    assert abs(picture - np.clip((pixels - low) * 255 / (high - low), 0, 255)).max() <= 1.5


def test_a_window_is_in_the_values_that_other_programs_show() -> None:
    stored = ramp("int16", -100, 500)
    after = image(stored, lambda array: files.fits(array, "BZERO   =  1000.0", "BSCALE  =  2.0"))
    picture = shown(after, window="900,1900").astype(float)
    assert abs(picture - np.clip((1000 + 2.0 * stored - 900) * 255 / 1000, 0, 255)).max() <= 1
    dark = shown(image(stored.astype("uint16"), files.dicom), window="-1e3,-5e2")
    assert (dark == 255).all()


def test_before_is_under_the_window_of_after() -> None:
    clean, noisy = ramp("uint16", 1000, 3000), ramp("uint16", 1000, 3000)
    noisy[5, 5], noisy[6, 6] = 60_000, 0
    both = [shown(image(clean), image(noisy), side=side) for side in ("after", "before")]
    same = np.ones(clean.shape, bool)
    same[5, 5] = same[6, 6] = False
    assert np.array_equal(both[0][same], both[1][same]) and list(both[1][~same]) == [255, 0]


def test_what_was_taken_out_is_gray_where_that_is_nothing() -> None:
    clean = np.full((64, 64), 5000, np.uint16)
    taken = np.random.default_rng(0).normal(0, 100, clean.shape).round()
    picture = shown(image(clean), image((clean + taken).astype(np.uint16)), side="residual").astype(float)
    assert abs(picture - (127.5 + taken * 127.5 / (4 * taken.std()))).max() <= 1
    assert (shown(image(clean), image(clean), side="residual") // 2 == 63).all()


def test_pages_and_channels_are_chosen_and_bounded() -> None:
    stack = files.noise((3, 20, 30))
    after = image(stack, lambda array: files.tiff(array, photometric="minisblack"))
    assert np.array_equal(shown(after, page=2), stack[2])
    with pytest.raises(Refused, match="page=3 is not there: the image has 3, counted from 0"):
        shown(after, page=3)
    five = files.noise((20, 30, 5))
    many = image(five[None], files.npy)
    assert np.array_equal(shown(many, channel=4), five[..., 4])
    assert abs(shown(many) - five.mean(-1)).max() <= 0.51
    with pytest.raises(Refused, match="channel=5: the image has 5"):
        shown(many, channel=5)


def test_large_images_are_shrunk_by_the_means_of_blocks() -> None:
    pixels = files.noise((100, 70))
    picture = shown(image(pixels), max=50)
    assert picture.shape == (50, 35)
    assert abs(picture - pixels.reshape(50, 2, 35, 2).mean((1, 3))).max() <= 0.51
    assert shown(image(files.noise((101, 65))), max=50).shape == (34, 22)  # by three, with a rest
    wide, small = (image(ramp("uint16", 0, 60_000, (200, 300))) for _ in range(2))
    assert abs(int(shown(wide, max=300)[50, 50]) - int(shown(small, max=30)[5, 5])) < 8  # one window for all sizes


def test_what_measured_nothing_is_black_and_no_part_of_the_window() -> None:
    pixels = ramp("float32", 10, 20)
    pixels[:5, :5] = np.nan
    picture = shown(image(pixels))
    assert (picture[:5, :5] == 0).all() and picture[-1, -1] > 250 and 100 < picture[20, 30] < 150
    counts = np.random.default_rng(0).poisson(20, (64, 64)).astype(np.uint32)
    counts[:, 30:34] = 2**32 - 1  # a gap between two chips, which no header tells of
    gap = shown(image(counts))
    assert (gap[:, 30:34] == 0).all() and gap[:, :30].mean() > 60


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_the_right_way_up(orientation: int) -> None:
    pixels = files.noise((20, 30))
    exif = Image.Exif()
    exif[274] = orientation
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", exif=exif)
    from PIL import ImageOps

    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(buffer.getvalue()))))
    assert np.array_equal(shown(decode_here(buffer.getvalue())), upright)
    tagged = files.tiff(pixels, extratags=[(274, 3, 1, orientation, True)])
    assert np.array_equal(shown(decode_here(tagged)), upright)


def camera_scene() -> tuple[Array, Array]:
    """A DNG's mosaic (files.dng: black 256, RGGB), and the colours of its halves: red above, gray-green below."""
    light = np.zeros((64, 96, 3))
    light[:32], light[32:] = (0.5, 0.05, 0.05), (0.3, 0.3, 0.3)
    sites = np.empty((64, 96))
    for y, x, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        sites[y::2, x::2] = light[y::2, x::2, channel]
    return (256 + sites * 15_000).astype(np.uint16), light


def test_a_raw_image_is_developed_as_a_raw_developer_does() -> None:
    mosaic, _ = camera_scene()
    data = files.dng(mosaic)
    picture = shown(decode_here(data)).astype(float)
    with rawpy.imread(io.BytesIO(data)) as raw:
        developed = raw.postprocess(half_size=True, use_camera_wb=True, no_auto_bright=True).astype(float)
    assert picture.shape == developed.shape  # both the right way up
    for of in (picture, developed):  # by the chromaticity of both halves: exposure is each one's own
        of += 1
    ours, theirs = (np.sort(linear(of)[5:-5, 5:-5].reshape(-1, 3), axis=0)[[50, -50]] for of in (picture, developed))
    assert abs(ours / ours.sum(1, keepdims=True) - theirs / theirs.sum(1, keepdims=True)).max() < 0.06
    assert not np.array_equal(picture, shown(decode_here(data), window="256,16000"))


def linear(seen: Array) -> Array:
    return np.asarray((seen / 255) ** 2.2)


def test_a_raw_result_in_another_format_is_developed_by_the_upload_s_tags() -> None:
    mosaic, _ = camera_scene()
    raw = decode_here(files.dng(mosaic))
    tiff = decode_here(encode(raw, raw.pixels, "tiff").data, mosaic="bayer")
    assert look.camera(tiff) is None and look.camera(raw) is not None
    ours = shown(tiff, camera=raw)
    assert np.array_equal(np.sort(ours, axis=None), np.sort(shown(raw), axis=None))


def test_a_mosaic_that_only_names_its_colours_is_shown_in_them() -> None:
    mosaic, _ = camera_scene()
    after = image(mosaic.astype(np.int16), lambda array: files.fits(array, "BAYERPAT= 'RGGB    '"))
    picture = shown(after, window="256,15256").astype(int)
    assert picture.shape == (32, 48, 3)
    assert picture[5, 5, 0] > 100 and picture[5, 5, 1] < 20
    assert np.ptp(picture[25, 25]) <= 1
    assert shown(after, channel=0).shape == (32, 48)


def test_broken_colour_tags_cost_the_colours_only() -> None:
    raw = decode_here(files.dng(camera_scene()[0]))
    for code, kind, data in [
        (50721, 10, b""),
        (50721, 10, b"\0" * 72),
        (50728, 5, b"\0" * 24),
        (50717, 3, b"\0\0"),
        (33422, 1, b"\7\7\7\7"),
    ]:
        tags = [tag for tag in raw.metadata.native["tags"] if tag[0] != code]
        raw.metadata.native["tags"] = [*tags, (code, kind, data)]
        shown(raw)
