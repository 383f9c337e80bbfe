"""Cutting an image into tiles whose results join without a seam.

A tile is a core and a halo around it. The halo is at least the radius of the network's receptive field, so the core's
result is the one the whole image would give; where the image ends, the tile ends too, and both see the same border.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SMALLEST_SIDE = 16  # smaller images are reflected up to this, so that every level has pixels to look at


class Tile(NamedTuple):
    """Where a tile reads and writes, in pixels of the padded image: `window` (core and halo) and `core`."""

    window: tuple[slice, slice]
    core: tuple[slice, slice]

    @property
    def inner(self) -> tuple[slice, slice]:
        """The core in the window's own coordinates."""
        rows, columns = (
            slice(core.start - window.start, core.stop - window.start)
            for core, window in zip(self.core, self.window, strict=True)
        )
        return rows, columns

    def on_page(self, height: int, width: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """The core without what padding added to the page, in the page's and in the window's coordinates."""
        rows, columns = (
            slice(of.start, min(of.stop, side)) for of, side in zip(self.core, (height, width), strict=True)
        )
        top, left = (of.start for of in self.inner)
        inner = slice(top, top + rows.stop - rows.start), slice(left, left + columns.stop - columns.start)
        return (rows, columns), inner


def padded_side(side: int, stride: int) -> int:
    """The side after padding: a multiple of `stride`, at least `SMALLEST_SIDE`."""
    return -(-max(side, SMALLEST_SIDE) // stride) * stride


def plan(height: int, width: int, *, size: int, halo: int, stride: int) -> list[Tile]:
    """Tiles with cores of at most `size` pixels a side that cover a padded image, all on the stride's grid."""
    size = max(stride, size // stride * stride)
    return [
        Tile((_grow(rows, halo, height), _grow(columns, halo, width)), (rows, columns))
        for rows in _spans(height, size, stride)
        for columns in _spans(width, size, stride)
    ]


def read_window(page: NDArray[np.generic], window: tuple[slice, slice]) -> NDArray[np.generic]:
    """A window of the reflect-padded page (H, W, …) without padding the whole page."""
    rows, columns = window
    height, width = page.shape[:2]
    # Only windows at the lower right edge leave the page, and reflection reaches back at most one padding.
    inside = page[_reach(rows, height), _reach(columns, width)]
    if rows.stop <= height and columns.stop <= width:
        return page[rows, columns]
    start_r, start_c = _reach(rows, height).start, _reach(columns, width).start
    pad = [(0, max(0, rows.stop - height)), (0, max(0, columns.stop - width))] + [(0, 0)] * (page.ndim - 2)
    padded = np.pad(inside, pad, mode="reflect")
    return padded[rows.start - start_r : rows.stop - start_r, columns.start - start_c : columns.stop - start_c]


def _reach(span: slice, side: int) -> slice:
    over = max(0, span.stop - side)
    return slice(max(0, min(span.start, side - 1 - over)), min(span.stop, side))


def _grow(core: slice, halo: int, side: int) -> slice:
    return slice(max(0, core.start - halo), min(side, core.stop + halo))


def _spans(side: int, size: int, stride: int) -> Iterator[slice]:
    """Spans of nearly equal length on the grid: 1 025 pixels make two of about 513, not 1 024 and 1."""
    count = -(-side // size)
    length = -(-side // (count * stride)) * stride
    for start in range(0, side, length):
        yield slice(start, min(side, start + length))
