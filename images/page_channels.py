"""Which channel each page of a microscopy TIFF shows: OME-TIFF and ImageJ keep channels as pages."""

from __future__ import annotations

import re

_PIXELS = re.compile(r"<(?:\w+:)?Pixels\b([^>]*)>")
_SIZE = re.compile(r'\bSize([CZT])\s*=\s*"([0-9]{1,6})"')
_ORDER = re.compile(r'\bDimensionOrder\s*=\s*"XY([CZT]{3})"')
_CHANNELS = re.compile(r"^channels=(\d{1,6})\s*$", re.MULTILINE)


def page_channels(description: str, pages: int) -> tuple[int, ...] | None:
    """The channel of each page, from 0; None if all show the same one, or the description does not say.

    Args:
        description: the first page's ImageDescription: OME-XML (`Pixels`, "OME Model and File Formats", 2016-06), whose
            pages run through the dimensions in `DimensionOrder`; or ImageJ's `key=value` lines, channels fastest.
        pages: how many the file has; a description of another number is not believed.
    """
    found = _PIXELS.search(description)
    if found:
        sizes = {"C": 1, "Z": 1, "T": 1} | {axis: int(size) for axis, size in _SIZE.findall(found[1])}
        said = _ORDER.search(found[1])
        order = list(said[1] if said else "CZT")
    elif description.startswith("ImageJ="):
        channels = _CHANNELS.search(description)
        count = int(channels[1]) if channels else 1
        sizes, order = {"C": count, "Z": pages // max(1, count)}, ["C", "Z"]
    else:
        return None
    stride, total = 1, 1
    for axis in order:
        if axis == "C":
            stride = total
        total *= sizes[axis]
    if sorted(order) != sorted(sizes) or sizes.get("C", 1) < 2 or total != pages:
        return None
    return tuple(page // stride % sizes["C"] for page in range(pages))
