"""Pixels as files store them: their scale, and their channels as a network takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]


def full_scale(dtype: np.dtype[Any]) -> float:
    """The value that stands for 1.0 in arrays of this type: the largest integer, or 1 for floats."""
    return float(np.iinfo(dtype).max) if np.issubdtype(dtype, np.integer) else 1.0


def to_channels(pixels: Pixels, channels: int) -> Pixels:
    """(H, W) or (H, W, C) pixels as (channels, H, W): luma (ITU-R BT.601) for one channel, repeats for more.

    Raises:
        ValueError: the pixels have a channel count that cannot become `channels`.
    """
    planes = pixels[..., None] if pixels.ndim == 2 else pixels
    have = planes.shape[-1]
    if have == channels:
        out = planes
    elif have == 3 and channels == 1:
        luma = planes.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
        out = (np.rint(luma) if np.issubdtype(pixels.dtype, np.integer) else luma).astype(pixels.dtype)[..., None]
    elif have == 1:
        out = np.repeat(planes, channels, -1)
    else:
        raise ValueError(f"{have} channels cannot be used to train a {channels}-channel model")
    return np.ascontiguousarray(out.transpose(2, 0, 1))
