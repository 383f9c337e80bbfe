"""A colour mosaic is denoised by site whatever file holds it, and nothing else is taken for one."""

from __future__ import annotations

import io
from dataclasses import astuple
from functools import cache
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from images import mosaic
from images.crop import crop
from images.decode import decode_here
from images.encode import encode
from images.errors import UnsupportedFormat
from images.mosaic_search import has_mosaic
from store.options import Roi
from tests.harness import files

Array = np.ndarray[Any, Any]
SIDE = 192


@cache
def scene(seed: int, colourful: bool = True) -> Array:
    """Blobs, edges and texture (SIDE, SIDE, 3) from 0 to 1, each in a colour of its own, or all in gray."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    picture = np.full((SIDE, SIDE, 3), 0.1)
    for _ in range(25):
        at, size, colour = rng.uniform(0, SIDE, 2), rng.uniform(6, 40), rng.uniform(0.1, 0.8, 3)
        far = np.hypot(y - at[0], x - at[1])
        shape = np.exp(-((far / size) ** 2)) if rng.random() < 0.5 else (far < size).astype(float)
        picture += shape[..., None] * (colour if colourful else colour[:1])
    picture += 0.1 * np.sin(x / rng.uniform(2, 9) + y / rng.uniform(2, 9))[..., None]
    return np.clip(picture / picture.max(), 0, 1)


def through_filter(picture: Array, gains: tuple[float, float, float] = (0.5, 1.0, 0.65), seed: int = 0) -> Array:
    """What a sensor under an RGGB filter makes of it, uint16 with photon noise on a pedestal of 200."""
    light = picture * np.array(gains) * 3000
    sites = light[..., 1].copy()
    sites[::2, ::2], sites[1::2, 1::2] = light[::2, ::2, 0], light[1::2, 1::2, 2]
    noisy = np.random.default_rng(seed).poisson(sites) + np.random.default_rng(seed + 1).normal(200, 5, sites.shape)
    return np.clip(np.rint(noisy), 0, 65_535).astype(np.uint16)


def repeated(block: Any) -> Array:
    block = np.asarray(block, float)
    return np.tile(block, (SIDE // len(block), SIDE // len(block)))


def screened(gray: Array, screen: Array) -> Array:
    return (gray > repeated(screen)).astype(float)


TWO = (np.array([[0, 2], [3, 1]]) + 0.5) / 4
FOUR = (np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) + 0.5) / 16
ORDINARY = {
    "gray": lambda gray: gray,
    "black sky": lambda gray: np.where(gray < 0.5, 0, gray),
    "saturated": lambda gray: np.minimum(2.5 * gray, 1),
    "halftone of 2 x 2": lambda gray: screened(gray, TWO),
    "halftone of 4 x 4": lambda gray: screened(gray, FOUR),
    "bright halftone": lambda gray: screened(0.5 + gray / 2, TWO),
    "halftone of four tones": lambda gray: (np.floor(3 * gray) + screened(3 * gray % 1, FOUR)) / 3,
    "enlarged 2 x 2": lambda gray: np.kron(gray[::2, ::2], np.ones((2, 2))),
    "enlarged 3 x 3": lambda gray: np.kron(gray[::3, ::3], np.ones((3, 3))),
    "blinds": lambda gray: gray * repeated([[1, 1], [0.5, 0.5]]),
    "upright blinds": lambda gray: gray * repeated([[1, 0.5], [1, 0.5]]),
    "checkerboard": lambda gray: gray * repeated([[1, 0.5], [0.5, 1]]),
    "added checkerboard": lambda gray: 0.7 * gray + 0.3 * repeated([[0, 1], [1, 0]]),
    "mesh": lambda gray: gray * repeated([[0.25, 0.5], [0.5, 1]]),
    "dots": lambda gray: gray * repeated([[1, 1], [1, 0.4]]),
    "readout channels": lambda gray: 0.7 * gray + repeated([[0, 0.15], [0.15, 0.07]]),
    "unequal gains": lambda gray: gray * repeated([[0.9, 1], [0.97, 1.05]]),
}


@pytest.mark.parametrize("kind", ORDINARY)
def test_nothing_else_with_a_period_of_two_is_taken_for_a_mosaic(kind: str) -> None:
    """17 kinds x 12 images = 204."""
    for seed in range(12):
        gray = ORDINARY[kind](scene(seed).mean(2)) * 220 + 10
        noisy = gray + np.random.default_rng(seed).normal(0, (0, 3, 12)[seed % 3], gray.shape)
        assert not has_mosaic(np.clip(np.rint(noisy), 0, 255).astype(np.uint8)[None]), seed


@pytest.mark.parametrize("colourful", [True, False])
@pytest.mark.parametrize(("top", "left"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_mosaic_is_found_by_its_period(top: int, left: int, colourful: bool) -> None:
    found = [has_mosaic(through_filter(scene(seed, colourful), seed=seed)[None, top:, left:]) for seed in range(8)]
    assert sum(found) >= 7
    assert has_mosaic(np.stack([through_filter(scene(1), seed=seed) for seed in range(5)]))


@pytest.mark.parametrize("shape", [(1, 8, 10), (2, 7, 10), (1, 8, 9), (3, 7, 9), (1, 1, 1), (1, 2, 1)])
def test_planes_and_back(shape: tuple[int, ...]) -> None:
    stack = files.noise(shape, "uint16")
    planes = np.stack([mosaic.planes(page) for page in stack])
    assert planes.shape == (shape[0], -(-shape[1] // 2), -(-shape[2] // 2), 4)
    np.testing.assert_array_equal(mosaic.joined(planes, mosaic.Sites(*shape[1:]))[..., 0], stack)
    if shape[1] > 1:
        assert planes[0, 0, 0, 2] == stack[0, 1, 0]


def test_a_missing_site_is_filled_with_its_own_colour() -> None:
    page = np.array([[0, 1, 0], [2, 3, 2], [0, 1, 0]])
    assert np.all(mosaic.planes(page) == [0, 1, 2, 3])


WRITERS = {
    "tiff": lambda page: files.tiff(page, photometric="minisblack", metadata=None),
    "png": lambda page: files.png(page[..., None]),
    "npy": files.npy,
    "tiff of int16": lambda page: files.tiff((page.astype(np.int32) - 5000).astype(np.int16), metadata=None),
    "tiff of float32": lambda page: files.tiff(page.astype(np.float32), metadata=None),
    "tiff of int32": lambda page: files.tiff(page.astype(np.int32) * 70_000, metadata=None),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_mosaic_comes_back_as_it_was(kind: str) -> None:
    data = WRITERS[kind](through_filter(scene(3))[:191, :189])
    decoded = decode_here(data)
    assert decoded.pixels.shape == (1, 96, 95, 4)
    assert "mosaic" in decoded.warnings[-1]
    again, whole = decode_here(encode(decoded, decoded.pixels).data), decode_here(data, mosaic="none")
    assert whole.pixels.shape == (1, 191, 189, 1)
    np.testing.assert_array_equal(again.restore(again.pixels), whole.restore(whole.pixels))
    np.testing.assert_array_equal(decoded.pixels[0, :, :94, 1], whole.pixels[0, ::2, 1::2, 0])


def test_a_stack_is_written_page_by_page() -> None:
    stack = np.stack([through_filter(scene(3), seed=seed) for seed in range(3)])
    decoded = decode_here(files.tiff(stack, photometric="minisblack", metadata=None))
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(encode(decoded, decoded.pixels).data)), stack)


@pytest.mark.parametrize("card", ["BAYERPAT= 'RGGB    '", "COLORTYP= 'GBRG'  / camera"])
def test_what_a_fits_header_declares_is_believed_without_a_look(card: str) -> None:
    flat = np.random.default_rng(0).poisson(50, (64, 64)).astype(np.int16)
    data = files.fits(flat, card, "XBAYROFF=                    1")
    decoded = decode_here(data)
    assert decoded.pixels.shape == (1, 32, 32, 4) and decoded.pattern in decoded.warnings[0]
    assert encode(decoded, decoded.pixels).data == data
    assert decode_here(files.fits(flat, "COLORTYP= 'MONO    '")).sites is None
    assert decode_here(files.fits(np.stack([flat] * 3), card)).sites is None, "three planes are colours already"
    assert decode_here(files.fits(np.stack([flat] * 4), card)).pixels.shape == (4, 32, 32, 4)


def test_what_is_said_is_done() -> None:
    gray = files.tiff(files.noise((64, 64), "uint16"))
    assert decode_here(gray).sites is None
    decoded = decode_here(gray, mosaic="bayer")
    assert decoded.pixels.shape == (1, 32, 32, 4)
    with pytest.raises(UnsupportedFormat, match="one channel"):
        decode_here(files.pillow(files.smooth(), "PNG"), mosaic="bayer")
    raw = files.dng(files.noise((64, 96), "uint16"))
    assert decode_here(raw, mosaic="none").pixels.shape == (1, 32, 48, 4), "what a camera made has no other way"


@pytest.mark.parametrize(
    "roi",
    [Roi(0, 0, 20, 10), Roi(3, 4, 21, 10), Roi(4, 5, 20, 11), Roi(7, 9, 33, 31), Roi(188, 190, 4, 2), Roi(5, 5, 1, 1)],
    ids=str,
)
def test_a_crop_of_a_mosaic_is_that_of_the_mosaic(roi: Roi) -> None:
    page = through_filter(scene(3))
    decoded = crop(decode_here(files.png(page[..., None])), *astuple(roi))
    result = np.asarray(Image.open(io.BytesIO(encode(decoded, decoded.pixels).data)))
    np.testing.assert_array_equal(result, page[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width])
    assert (decoded.info.width, decoded.info.height) == (roi.width, roi.height)
