"""A preview: one page of a job's image before or after, or what was taken out, as a PNG for a screen.

It has no metadata of any kind: neither what the upload said nor a note of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from images import look
from images.codecs.png import encode
from images.decoded import Decoded, Metadata
from images.info import ImageInfo
from model.arrays.missing import find
from store.preview import Preview
from worker.errors import Refused

Array = NDArray[Any]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]

PERCENTILES = (0.2, 99.8)  # of the result's page: black and white of `auto`
EXPOSED = 99.5  # percentile of a developed raw image that is shown as white
REACH = 4.0  # standard deviations of what was taken out from gray to white
SAMPLES = 1 << 18  # of a page, from which the window is told
WHOLE_RANGE = (0.0, 255.0)  # of 8 bit, which a screen has, too


@dataclass(frozen=True)
class Page:
    """A page of one side, shrunk: (h, w, C) in the file's values, and where nothing was measured."""

    values: Floats
    missing: Mask | None


def draw(preview: Preview, after: Decoded, before: Decoded | None, camera: Decoded) -> bytes:
    """A PNG of 8 bits, gray or RGB, the right way up.

    Args:
        after: the result; it decides which way up it is, and the window of both sides.
        before: the upload, cut as the result is; needed for `before` and `residual`.
        camera: whichever of the two says what a raw image's samples mean.

    Raises:
        Refused: there is no such page or channel.
    """
    _check(preview, after)
    if preview.side == "after" or before is None:
        pixels = _side(preview, after, after, camera)
    elif preview.side == "before":
        pixels = _side(preview, after, before, camera)
    else:
        pixels = _residual(preview, after, before, camera)
    pixels = np.ascontiguousarray(look.turned(pixels, look.orientation(after)))
    height, width, channels = pixels.shape
    return encode(pixels[None], Metadata(), ImageInfo("png", width, height, channels), None)


def _check(preview: Preview, image: Decoded) -> None:
    pages, _, _, channels = image.pixels.shape
    if preview.page >= pages:
        raise Refused("no_such_page", f"page={preview.page} is not there: the image has {pages}, counted from 0.")
    if preview.channel is not None and preview.channel >= channels:
        raise Refused("no_such_channel", f"channel={preview.channel}: the image has {channels}, counted from 0.")


def _side(preview: Preview, after: Decoded, side: Decoded, camera: Decoded) -> NDArray[np.uint8]:
    page = _page(preview, side)
    about = look.camera(camera) if after.sites and preview.channel is None else None
    if about is not None:
        levels = preview.levels
        meant = about if levels is None else look.Camera((levels[0],) * 4, levels[1], about.to_srgb)
        light = look.developed(page.values, look.pattern(camera), meant)
        if levels is None:
            light = light / _exposure(preview, after, camera, about)
        return _bytes(look.gamma(light) * 255, page.missing)
    shown = _seen(preview, after, camera)
    low, high = preview.levels or _window(preview, after, shown)
    return _bytes((shown(page.values) - np.float32(low)) * np.float32(255 / (high - low)), page.missing)


def _residual(preview: Preview, after: Decoded, before: Decoded, camera: Decoded) -> NDArray[np.uint8]:
    """Gray is nothing; where nothing was measured, nothing was taken out."""
    shown = _seen(preview, after, camera)
    taken = shown(_page(preview, before).values) - shown(_page(preview, after).values)
    reach = REACH * max(float(taken.std()), 1e-12)
    low, high = preview.levels or (-reach, reach)
    return _bytes((taken - np.float32(low)) * np.float32(255 / (high - low)), None)


def _page(preview: Preview, image: Decoded) -> Page:
    """The page shrunk to the size that was asked for, by means of blocks, in the values that the file means."""
    page = image.pixels[preview.page]
    missing = _missing(preview.page, image)
    factor = max(1, -(-max(page.shape[:2]) // preview.max))
    values = _values(image, _means(page, factor))
    if missing is None:
        return Page(values, None)
    return Page(values, _means(np.any(missing, -1, keepdims=True), factor) > 0.5)


def _missing(index: int, image: Decoded) -> Mask | None:
    """Where the page measured nothing, (H, W, C): as the file says, and marks that are certain."""
    page = image.pixels[index]
    found = find(page[None], lambda _, pixels: image.missing(index, pixels), image.shift, pages=[0])
    return found.of(0, page)


def _values(image: Decoded, samples: Array) -> Floats:
    units = image.units
    values: Array = units.offset + units.scale * (samples - np.float32(image.shift))
    return values.astype(np.float32, copy=False)


def _means(page: Array, factor: int) -> Floats:
    """Means of blocks of factor x factor pixels, the last ones smaller."""
    if factor == 1:
        return page.astype(np.float32)
    total: Array = page
    for axis in (0, 1):
        size = page.shape[axis]
        starts = np.arange(0, size, factor)
        sums = np.add.reduceat(total, starts, axis=axis, dtype=np.float32)
        counts = np.minimum(factor, size - starts).astype(np.float32)
        total = sums / (counts[:, None, None] if axis == 0 else counts[:, None])
    return np.asarray(total)


def _seen(preview: Preview, image: Decoded, camera: Decoded) -> Callable[[Floats], Floats]:
    """From the page's channels to the one or three that are shown."""
    channels = image.pixels.shape[-1]
    if preview.channel is not None:
        index = preview.channel
        return lambda values: values[..., index : index + 1]
    letters = look.pattern(camera) if image.sites else ""
    if letters:
        return lambda values: look.colours(values, letters)
    if channels in (1, 3):
        return lambda values: values
    return lambda values: values.mean(-1, keepdims=True)


def _window(preview: Preview, after: Decoded, shown: Callable[[Floats], Floats]) -> tuple[float, float]:
    """Black and white of `auto`: of the result's page, whatever the preview's size and side."""
    if after.info.dtype == "uint8" and after.units.scale == 1 and after.units.offset == 0:
        return WHOLE_RANGE
    low, high = np.percentile(shown(_sample(preview, after)), PERCENTILES)
    return float(low), float(high if high > low else low + 1)


def _exposure(preview: Preview, after: Decoded, camera: Decoded, about: look.Camera) -> np.float32:
    """What is shown as white of a developed image."""
    light = look.developed(_sample(preview, after), look.pattern(camera), about)
    return np.float32(max(float(np.percentile(light.max(-1), EXPOSED)), 1e-3))


def _sample(preview: Preview, after: Decoded) -> Floats:
    """(n, 1, C) values of pixels of the result's page that measured something, evenly spaced."""
    page, missing = after.pixels[preview.page], _missing(preview.page, after)
    step = max(1, round((page.shape[0] * page.shape[1] / SAMPLES) ** 0.5))
    pixels = page[::step, ::step].reshape(-1, 1, page.shape[-1])
    if missing is not None:
        known = ~missing[::step, ::step].reshape(-1, page.shape[-1]).any(-1)
        pixels = pixels[known] if known.any() else pixels
    return _values(after, pixels.astype(np.float32))


def _bytes(shown: Floats, missing: Mask | None) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = np.clip(np.nan_to_num(shown) + 0.5, 0, 255).astype(np.uint8)
    return pixels if missing is None else np.where(missing, np.uint8(0), pixels)
