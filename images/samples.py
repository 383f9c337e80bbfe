"""Sample types: the model works on uint8, uint16 and float32; files hold ten kinds. Nothing is lost on the way back.

Signed 8 and 16 bit shift into the unsigned type of the same width (a bijection). 32-bit integers and float64 become
float32; where that rounds, the exact samples are kept aside and used again wherever the model changed nothing.
Samples that are not numbers (NaN, infinities: masks, dead pixels) are filled for the model and put back afterwards.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_SHIFTED = {np.dtype("int8"): (np.uint8, 1 << 7), np.dtype("int16"): (np.uint16, 1 << 15)}
WORKING = (np.dtype("uint8"), np.dtype("uint16"), np.dtype("float32"))


def to_working(stored: Array) -> tuple[Array, Array | None, tuple[str, ...]]:
    """(pixels for the model, exact samples to keep or None, warnings) of an (N, H, W, C) array of any real type."""
    stored = np.ascontiguousarray(stored, dtype=stored.dtype.newbyteorder("="))
    pixels, exact, count = filled(stored)
    return pixels, exact, fill_warning(count)


def filled(stored: Array) -> tuple[Array, Array | None, int]:
    """As `to_working`, with the number of samples that are not numbers instead of the warning about them."""
    if stored.dtype == np.bool_:
        return stored.astype(np.uint8) * np.uint8(255), None, 0
    if stored.dtype in _SHIFTED:
        unsigned, offset = _SHIFTED[stored.dtype]
        return stored.view(unsigned) ^ unsigned(offset), None, 0
    if stored.dtype in WORKING[:2]:
        return stored, None, 0
    with np.errstate(over="ignore"):
        pixels = stored.astype(np.float32)
    bad = ~np.isfinite(pixels)
    if not bad.any():
        with np.errstate(invalid="ignore"):  # 2^31 and more, rounded up to float32, do not fit back
            same = stored.dtype in (np.float32, np.float16) or np.array_equal(pixels.astype(stored.dtype), stored)
        return pixels, None if same else stored, 0
    good = pixels[~bad]
    pixels = np.where(bad, np.float32(np.median(good)) if good.size else np.float32(0), pixels)
    return pixels, stored, int(bad.sum())


def fill_warning(count: int) -> tuple[str, ...]:
    """What to say about `count` samples that are not numbers."""
    return (f"{count:,} samples are not finite numbers; they come back as they were.",) if count else ()


def from_working(pixels: Array, dtype: np.dtype[Any], before: Array, exact: Array | None) -> Array:
    """`pixels` in the file's `dtype`; where they equal `before` and exact samples were kept, those."""
    if dtype in _SHIFTED:
        unsigned, offset = _SHIFTED[dtype]
        restored: Array = (pixels ^ unsigned(offset)).view(dtype)
        return restored
    if dtype.kind in "iu" and dtype.itemsize > 2:
        bounds = np.iinfo(dtype)
        restored = np.clip(np.rint(pixels.astype(np.float64)), bounds.min, bounds.max).astype(dtype)
    else:
        restored = pixels.astype(dtype, copy=False)
    if exact is not None:
        unchanged = (pixels == before) | ~np.isfinite(exact.astype(np.float64, copy=False))
        restored = np.where(unchanged, exact.astype(dtype, copy=False), restored)
    return restored


def flipped(stored: Array, bits: int) -> Array:
    """Integers with dark and light exchanged, its own inverse; floats as they are.

    For files in which large means dark: noise grows with light, so the model must see light as large.
    """
    if stored.dtype.kind == "u" and 8 < bits < 8 * stored.itemsize:
        top: Array = stored.dtype.type((1 << bits) - 1) - stored
        return top
    return ~stored if stored.dtype.kind in "iu" else stored


def scaled_up(samples: Array, bits: int) -> Array:
    """9-15 bit samples in uint16, spread over 16 bit by repeating their top bits, as PNG recommends."""
    shifted = samples.astype(np.uint16) << np.uint16(16 - bits)
    return shifted | (shifted >> np.uint16(bits))
