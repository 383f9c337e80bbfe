"""Cut a region of interest out of a decoded image."""

from __future__ import annotations

from dataclasses import replace

from images import mosaic
from images.decoded import Decoded
from images.errors import RegionOutside, RegionSplitsMosaic


def crop(decoded: Decoded, x: int, y: int, width: int, height: int) -> Decoded:
    """The region of every frame, in pixels as stored, from the top left.

    Raises:
        RegionOutside: it does not lie inside the image.
        RegionSplitsMosaic: the pattern of a DNG would begin elsewhere in it.
    """
    info, region = decoded.info, f"{x},{y},{width},{height}"
    if min(x, y) < 0 or min(width, height) < 1 or x + width > info.width or y + height > info.height:
        raise RegionOutside(
            f"The roi {region} does not lie inside the image of {info.width} x {info.height} pixels; "
            "give x,y,width,height within it."
        )
    if info.result_format == "dng" and (x % 2 or y % 2):
        raise RegionSplitsMosaic(f"The roi {region} begins inside a block of the raw mosaic; give an even x and y.")
    rows, columns = slice(y, y + height), slice(x, x + width)
    alpha = None if decoded.alpha is None else decoded.alpha[:, rows, columns]
    sites = decoded.sites
    if sites is not None:
        rows, columns, sites = mosaic.cropped(sites, rows, columns)
    return replace(
        decoded,
        pixels=decoded.pixels[:, rows, columns],
        alpha=alpha,
        exact=None if decoded.exact is None else decoded.exact[:, rows, columns],
        info=replace(info, width=width, height=height),
        sites=sites,
    )


def place(decoded: Decoded, x: int, y: int, width: int, height: int) -> tuple[slice, slice]:
    """The rows and columns of `decoded.pixels` that `crop` takes."""
    rows, columns = slice(y, y + height), slice(x, x + width)
    return (rows, columns) if decoded.sites is None else mosaic.cropped(decoded.sites, rows, columns)[:2]
