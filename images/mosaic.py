"""A sensor's 2 x 2 colour mosaic and its four planes at half size: what the model sees, and the way back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def planes(mosaic: Array) -> Array:
    """(1, ceil(H/2), ceil(W/2), 4) of an (H, W) mosaic: each block's top left, top right, bottom left, bottom right."""
    height, width = mosaic.shape
    even = np.pad(mosaic, ((0, height % 2), (0, width % 2)), mode="reflect") if height % 2 or width % 2 else mosaic
    return np.stack([even[y::2, x::2] for y in (0, 1) for x in (0, 1)], axis=2)[None]


def joined(stored: Array) -> Array:
    """The (2H, 2W) mosaic of planes (1, H, W, 4)."""
    _, height, width, _ = stored.shape
    mosaic = np.empty((2 * height, 2 * width), stored.dtype)
    for index in range(4):
        mosaic[index // 2 :: 2, index % 2 :: 2] = stored[0, :, :, index]
    return mosaic
