"""A sensor's 2 x 2 colour mosaic and its four planes at half size: what the model sees, and the way back.

Neighbours in a mosaic show different colours, so a model that takes it for a gray image mixes them. The four sites of
the block are images by themselves, in which noise is still independent from pixel to pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Sites:
    """The mosaic of which planes were made: `height` x `width` pixels from row `top` and column `left` of its blocks.

    `top` and `left` are 0, or 1 for a crop that begins inside a block.
    """

    height: int
    width: int
    top: int = 0
    left: int = 0


def planes(mosaic: Array) -> Array:
    """(ceil(H/2), ceil(W/2), 4) of an (H, W) mosaic: each block's top left, top right, bottom left, bottom right."""
    height, width = mosaic.shape
    if height % 2 or width % 2:  # the missing sites of the last blocks: the nearest of the same colour
        rows, columns = _same_colour(height), _same_colour(width)
        mosaic = mosaic[rows][:, columns]
    return np.stack([mosaic[y::2, x::2] for y in (0, 1) for x in (0, 1)], axis=2)


def _same_colour(side: int) -> NDArray[np.intp]:
    """Indices of an even number of lines, the missing one taken two lines before."""
    places = np.arange(side + side % 2)
    places[side:] = max(side - 2, 0)
    return places


def joined(stored: Array, sites: Sites) -> Array:
    """The mosaic (N, H, W, 1) of planes (N, h, w, 4)."""
    frames, height, width, _ = stored.shape
    mosaic = np.empty((frames, 2 * height, 2 * width, 1), stored.dtype)
    for index in range(4):
        mosaic[:, index // 2 :: 2, index % 2 :: 2, 0] = stored[..., index]
    return mosaic[:, sites.top : sites.top + sites.height, sites.left : sites.left + sites.width]


def cropped(sites: Sites, rows: slice, columns: slice) -> tuple[slice, slice, Sites]:
    """(rows and columns of the planes that hold those of the mosaic, the mosaic's place in them)."""
    blocks = slice(rows.start // 2, -(-rows.stop // 2)), slice(columns.start // 2, -(-columns.stop // 2))
    place = Sites(rows.stop - rows.start, columns.stop - columns.start, rows.start % 2, columns.start % 2)
    return *blocks, place
