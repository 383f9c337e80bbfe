"""The parts of an image that are measured throughout: what can be learned from, and judged by, of one with gaps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SPECK = 3  # gaps this wide in both directions are areas; narrower ones are filled and stay
CELLS = 160  # a side, at most, of the grid on which rectangles are looked for
CELL = 4  # pixels a side of a cell, at least
MOST = 24  # rectangles of an image

Mask = NDArray[np.bool_]
Part = tuple[slice, slice]


def parts(missing: Mask, smallest: int) -> list[Part]:
    """Rectangles (rows, columns) without missing areas, the largest first; they do not overlap.

    Args:
        missing: (H, W).
        smallest: least side of a rectangle, in pixels.
    """
    height, width = missing.shape
    known = ~_areas(missing)
    if known.all():
        return [(slice(0, height), slice(0, width))] if min(height, width) >= smallest else []
    cell = max(CELL, -(-max(height, width) // CELLS))
    rows, columns = height // cell, width // cell
    cells = known[: rows * cell, : columns * cell].reshape(rows, cell, columns, cell)
    free: Mask = np.logical_and.reduce(cells, (1, 3))
    found: list[Part] = []
    while len(found) < MOST:
        top, bottom, left, right = _largest(free)
        if min(bottom - top, right - left) * cell < smallest - 2 * cell:
            break
        free[top:bottom, left:right] = False
        part = _widened(known, slice(top * cell, bottom * cell), slice(left * cell, right * cell), cell)
        if min(part[0].stop - part[0].start, part[1].stop - part[1].start) >= smallest:
            found.append(part)
            known[part] = False
    return found


def _areas(missing: Mask) -> Mask:
    """What is missing in squares of `SPECK` pixels: morphological opening."""
    padded = np.pad(missing, SPECK - 1, constant_values=True)  # the image's border cuts no area short
    height, width = missing.shape
    grown = np.zeros_like(padded)
    inside = np.ones((height + SPECK - 1, width + SPECK - 1), bool)
    for row in range(SPECK):
        for column in range(SPECK):
            inside &= padded[row : row + inside.shape[0], column : column + inside.shape[1]]
    for row in range(SPECK):
        for column in range(SPECK):
            grown[row : row + inside.shape[0], column : column + inside.shape[1]] |= inside
    return missing & grown[SPECK - 1 : SPECK - 1 + height, SPECK - 1 : SPECK - 1 + width]


def _largest(free: Mask) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of the largest rectangle of free cells, by its area.

    Row by row, with the height of the free column above each cell: a rectangle ends where a lower column begins.
    """
    best, place = 0, (0, 0, 0, 0)
    heights = np.zeros(free.shape[1], int)
    for row, cells in enumerate(free):
        heights = np.where(cells, heights + 1, 0)
        open_: list[tuple[int, int]] = []  # (first column, height), heights ascending
        for column, height in enumerate([*heights.tolist(), 0]):
            start = column
            while open_ and open_[-1][1] > height:
                start, tall = open_.pop()
                if tall * (column - start) > best:
                    best, place = tall * (column - start), (row + 1 - tall, row + 1, start, column)
            if height and (not open_ or open_[-1][1] < height):
                open_.append((start, height))
    return place


def _widened(known: Mask, rows: slice, columns: slice, most: int) -> Part:
    """The rectangle with up to `most` rows and columns more on every side, as far as all is known."""
    top, bottom, left, right = rows.start, rows.stop, columns.start, columns.stop
    for _ in range(most):
        if top > 0 and known[top - 1, left:right].all():
            top -= 1
        if bottom < known.shape[0] and known[bottom, left:right].all():
            bottom += 1
        if left > 0 and known[top:bottom, left - 1].all():
            left -= 1
        if right < known.shape[1] and known[top:bottom, right].all():
            right += 1
    return slice(top, bottom), slice(left, right)
