"""Which decoded images are colour mosaics: these become four planes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from numpy.typing import NDArray

from images import scratch
from images.decoded import Decoded
from images.errors import UnsupportedFormat
from images.mosaic import Sites, planes
from images.mosaic_search import has_mosaic

Array = NDArray[Any]
Mosaic = Literal["auto", "none", "bayer"]
_CAMERA = ("dng", "raw")


def split(decoded: Decoded, mosaic: Mosaic = "auto") -> Decoded:
    """The image as four planes (N, ceil(H/2), ceil(W/2), 4) if it is a mosaic, else as it is.

    `auto` splits what a camera made, what its file declares (`Decoded.pattern`), and what shows a mosaic's period;
    `bayer` any image of one channel, `none` only what cannot be read otherwise (DNG and makers' own formats).

    Raises:
        UnsupportedFormat: `bayer` for an image of several channels.
    """
    if decoded.info.format not in _CAMERA:
        single = decoded.pixels.shape[-1] == 1
        if mosaic == "bayer" and not single:
            raise UnsupportedFormat("mosaic=bayer is for images of one channel; leave it out for this one.")
        if mosaic == "none" or not single:
            return decoded
        found = mosaic == "auto" and (bool(decoded.pattern) or has_mosaic(decoded.pixels[..., 0]))
        if mosaic == "auto" and not found:
            return decoded
        said = f"as its header says ({decoded.pattern})" if decoded.pattern else "by its 2 x 2 period"
        said = "as you say" if mosaic == "bayer" else said
        remark = (
            f"The image is a colour filter mosaic, {said}: it was denoised site by site and comes back as a mosaic; "
            "mosaic=none makes it one gray image."
        )
        decoded = replace(decoded, warnings=(*decoded.warnings, remark))
    _, height, width, _ = decoded.pixels.shape
    exact = None if decoded.exact is None else _planes_of(decoded.exact)
    return replace(decoded, pixels=_planes_of(decoded.pixels), exact=exact, sites=Sites(height, width))


def _planes_of(stack: Array) -> Array:
    """Planes of (N, H, W, 1), page by page, on disk where they are large."""
    frames, height, width, _ = stack.shape
    found = scratch.empty((frames, -(-height // 2), -(-width // 2), 4), stack.dtype)
    for index, page in enumerate(stack):
        found[index] = planes(page[..., 0])
        if index % 16 == 0:
            scratch.release(stack)
            scratch.release(found)
    return found
