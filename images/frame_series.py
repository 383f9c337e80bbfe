"""Which pages of a microscopy TIFF are frames of one series: neighbours in time, or in depth where there is no time."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence

from images.ome import planes_of_directories

_IMAGEJ = re.compile(r"^(channels|slices|frames|order)=(\w{1,9})\s*$", re.MULTILINE)
_AXES = ("T", "Z")  # the first of which there is more than one is the one that frames follow each other along
_NAMES = {"c": ("C", "channels"), "z": ("Z", "slices"), "t": ("T", "frames")}

Plane = tuple[int, Mapping[str, int]]
"""The recording that a page is of, and its place along each axis."""


def frame_series(description: str, pages: int, places: Sequence[int] | None = None) -> tuple[int, ...] | None:
    """The series of each page, from 0; pages of one follow each other along time, or depth. None: nobody says.

    Args:
        description: the first page's ImageDescription: OME-XML, ImageJ's lines, or tifffile's JSON with `axes`.
        pages: how many the file has; a description of another number is not believed.
        places: the place of each page among the file's directories, where some of those are no pages.
    """
    if "<" in description[:200] and "Pixels" in description:
        last = pages if places is None else max(places) + 1
        by_place = planes_of_directories(description, last)
        found: list[Plane | None] | None = (
            None if by_place is None else [by_place.get(place) for place in places or range(pages)]
        )
    elif description.startswith("ImageJ="):
        found = _counted(_imagej(description), pages)
    else:
        found = _counted(_shaped(description), pages)
    return None if found is None else _numbered(found)


def _numbered(planes: Sequence[Plane | None]) -> tuple[int, ...] | None:
    """Pages that differ along the axis of frames alone have one number."""
    known = [plane for plane in planes if plane is not None]
    axis = next((axis for axis in _AXES if len({place.get(axis, 0) for _, place in known}) > 1), None)
    if axis is None:
        return None
    numbers: dict[object, int] = {}
    found = []
    for index, plane in enumerate(planes):
        rest = ("page", index) if plane is None else (plane[0], *(v for k, v in sorted(plane[1].items()) if k != axis))
        found.append(numbers.setdefault(rest, len(numbers)))
    return tuple(found)


def _counted(sizes: Mapping[str, int] | None, pages: int) -> list[Plane | None] | None:
    """Pages that count through axes, the fastest first."""
    if not sizes or math.prod(sizes.values()) != pages:
        return None
    found: list[Plane | None] = []
    for page in range(pages):
        rest = page
        place: dict[str, int] = {}
        for axis, size in sizes.items():
            rest, place[axis] = divmod(rest, size)
        found.append((0, place))
    return found


def _imagej(description: str) -> dict[str, int] | None:
    """ImageJ's hyperstacks: channels fastest, then slices, unless `order` says otherwise."""
    said = dict(_IMAGEJ.findall(description))
    order = said.get("order", "czt")
    sizes = {_NAMES[axis][0]: said.get(_NAMES[axis][1], "1") for axis in order if axis in _NAMES}
    if sorted(order) != ["c", "t", "z"] or not all(size.isdecimal() for size in sizes.values()):
        return None
    return {axis: int(size) for axis, size in sizes.items()}


def _shaped(description: str) -> dict[str, int] | None:
    """tifffile's JSON: the axes before Y are pages, the last of them fastest."""
    if not description.startswith('{"'):
        return None
    try:
        found = json.loads(description.rstrip("\0"))
        axes, shape = str(found["axes"]), [int(size) for size in found["shape"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    before = axes.find("Y")
    if before < 1 or len(axes) != len(shape) or len(set(axes)) < len(axes) or min(shape) < 1:
        return None
    return dict(zip(reversed(axes[:before]), reversed(shape[:before]), strict=True))
