"""Tiny images as bytes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def noisy(height: int = 24, width: int = 32, channels: int = 1, seed: int = 0) -> NDArray[Any]:
    """A gradient with noise, (height, width[, channels]) uint8."""
    rng = np.random.default_rng(seed)
    shape = (height, width) if channels == 1 else (height, width, channels)
    ramp = np.linspace(60, 190, width)[None, :, *[None] * (len(shape) - 2)]
    clipped: NDArray[Any] = (ramp + rng.normal(0, 15, shape)).clip(0, 255).astype(np.uint8)
    return clipped


def png(pixels: NDArray[Any]) -> bytes:
    """PNG bytes of uint8 pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def pixels_of(data: bytes) -> NDArray[Any]:
    """Pixels of an image file."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)
