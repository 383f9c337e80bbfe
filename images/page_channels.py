"""Which channel each page of a microscopy TIFF shows: programs keep channels as pages, and say so in their own ways."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence

from images.ome import channels_of_directories

_IMAGEJ = re.compile(r"^(channels|slices|frames|order)=(\w{1,6})\s*$", re.MULTILINE)
_SCANIMAGE = re.compile(r"(?:SI\.hChannels\.channelSave|scanimage\.SI\d?\.channelsSave)\s*=\s*(\[[^\]\n]{0,200}\]|\d+)")
_SCANIMAGE_3 = re.compile(r"state\.acq\.numberOfChannelsSave=(\d{1,3})\b")


def page_channels(description: str, pages: int, places: Sequence[int] | None = None) -> tuple[int, ...] | None:
    """The channel of each page, from 0; None if all show the same one, or the description does not say.

    Args:
        description: the first page's ImageDescription, or another text that says how pages are ordered: OME-XML;
            ImageJ's `key=value` lines; tifffile's JSON with `axes`; ScanImage's settings.
        pages: how many the file has; a description of another number is not believed.
        places: the place of each page among the file's directories, where some of those are no pages.
    """
    if "<" in description[:200] and "Pixels" in description:
        last = pages if places is None else max(places) + 1
        by_place = channels_of_directories(description, last)
        found = None if by_place is None else [by_place[place] for place in places or range(pages)]
    elif description.startswith("ImageJ="):
        found = _imagej(description, pages)
    elif description.startswith('{"'):
        found = _shaped(description, pages)
    else:
        found = _scanimage(description, pages)
    return several(found)


def several(found: Sequence[int] | None) -> tuple[int, ...] | None:
    """`found`, if it names more than one channel."""
    return tuple(found) if found is not None and len(set(found)) > 1 else None


def _imagej(description: str, pages: int) -> list[int] | None:
    """ImageJ's hyperstacks: channels fastest, unless `order` says otherwise (fastest first)."""
    said = dict(_IMAGEJ.findall(description))
    order = said.get("order", "czt")
    if sorted(order) != ["c", "t", "z"] or not said.get("channels", "1").isdecimal():
        return None
    channels, stride = int(said.get("channels", "1")), 1
    for axis in order[: order.index("c")]:
        size = said.get({"z": "slices", "t": "frames"}[axis], "1")
        stride *= int(size) if size.isdecimal() else 1
    return _counted(channels, stride, pages)


def _counted(channels: int, stride: int, pages: int) -> list[int] | None:
    if channels < 2 or stride < 1 or pages % (channels * stride):
        return None
    return [page // stride % channels for page in range(pages)]


def _shaped(description: str, pages: int) -> list[int] | None:
    """tifffile's JSON: the axes before Y are pages, the last of them fastest."""
    try:
        found = json.loads(description.rstrip("\0"))
        axes, shape = str(found["axes"]), [int(size) for size in found["shape"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    before = axes.find("Y")
    if len(axes) != len(shape) or "C" not in axes[: max(before, 0)] or math.prod(shape[:before]) != pages:
        return None
    place = axes.index("C")
    return _counted(shape[place], math.prod(shape[place + 1 : before]), pages)


def _scanimage(description: str, pages: int) -> list[int] | None:
    """ScanImage writes the saved channels of a frame one after the other."""
    if match := _SCANIMAGE.search(description):
        channels = len(re.findall(r"\d+", match[1]))
    elif match := _SCANIMAGE_3.search(description):
        channels = int(match[1])
    else:
        return None
    return _counted(channels, 1, pages)
