"""Sample types: the model works on uint8, uint16 and float32; files hold more kinds. Nothing is lost on the way back.

Signed 8 and 16 bit shift into the unsigned type of the same width (a bijection). Wider integers and float64 become
float32; where that rounds, the exact samples are kept aside and used again wherever the model changed nothing.
Samples that hold no data (NaN, infinities, the value that a file declares for that: masks, dead pixels, padding) are
filled for the model and put back afterwards. Results stay within a file's significant bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from images.errors import UnsupportedFormat
from images.units import Units

Array = NDArray[Any]
_SHIFTED = {np.dtype("int8"): (np.uint8, 1 << 7), np.dtype("int16"): (np.uint16, 1 << 15)}
NoData = tuple[float, float]
"""The least and greatest sample, in the file's units, that a file declares to mean "nothing was measured here"."""
_FIT = (-(1 << 31), (1 << 32) - 1)
_MARKS = 1000  # a sample in so many may lie beyond: such values are marks, kept bit for bit
WORKING = (np.dtype("uint8"), np.dtype("uint16"), np.dtype("float32"))


def to_working(stored: Array, no_data: NoData | None = None) -> tuple[Array, Array | None, tuple[str, ...]]:
    """(pixels for the model, exact samples to keep or None, warnings) of an (N, H, W, C) array of any real type.

    Samples in the range `no_data`, ends included, count as holding none.
    """
    stored = np.ascontiguousarray(stored, dtype=stored.dtype.newbyteorder("="))
    pixels, exact, count = filled(stored, no_data)
    return pixels, exact, fill_warning(count, no_data)


def filled(stored: Array, no_data: NoData | None = None) -> tuple[Array, Array | None, int]:
    """As `to_working`, with the number of samples that hold no data instead of the warning about them."""
    pixels, exact = _converted(stored)
    bad = without_data(stored, no_data)
    _check_fit(stored, bad)
    if bad is None or not bad.any():
        return pixels, exact, 0
    good = pixels[~bad]
    middle = np.median(good) if good.size else _converted(np.zeros(1, stored.dtype))[0][0]
    return np.where(bad, pixels.dtype.type(middle), pixels), stored, int(bad.sum())


def _check_fit(stored: Array, bad: NDArray[np.bool_] | None) -> None:
    """Refuse 64-bit integers beyond 32: their steps in float32 are coarser than the noise of such counts."""
    if stored.dtype.kind not in "iu" or stored.dtype.itemsize < 8:
        return
    beyond = (stored < _FIT[0]) | (stored > _FIT[1])
    if np.count_nonzero(beyond if bad is None else beyond & ~bad) > stored.size // _MARKS:
        raise UnsupportedFormat(
            f"The {stored.dtype.name} samples go beyond 32 bit; subtract their offset, or divide them, and send that."
        )


def _converted(stored: Array) -> tuple[Array, Array | None]:
    """(samples in a working type, the exact ones if float32 rounds some)."""
    if stored.dtype == np.bool_:
        return stored.astype(np.uint8) * np.uint8(255), None
    if stored.dtype in _SHIFTED:
        unsigned, offset = _SHIFTED[stored.dtype]
        return stored.view(unsigned) ^ unsigned(offset), None
    if stored.dtype in WORKING[:2]:
        return stored, None
    with np.errstate(over="ignore"):
        pixels = stored.astype(np.float32)
    with np.errstate(invalid="ignore"):  # 2^31 and more, rounded up to float32, do not fit back
        same = stored.dtype in (np.float32, np.float16) or np.array_equal(pixels.astype(stored.dtype), stored)
    return pixels, None if same else stored


def without_data(stored: Array, no_data: NoData | None) -> NDArray[np.bool_] | None:
    """Where samples hold no data: not finite as float32, or in the declared range; None where none can be."""
    bad: NDArray[np.bool_] | None = None
    if stored.dtype.kind == "f" and stored.dtype.itemsize < 8:
        bad = ~np.isfinite(stored)
    elif stored.dtype.kind == "f":
        with np.errstate(over="ignore"):
            bad = ~np.isfinite(stored.astype(np.float32))
    if no_data is None or stored.dtype == np.bool_:
        return bad
    low, high = (stored.dtype.type(end) for end in no_data)
    inside: NDArray[np.bool_] = (stored >= low) & (stored <= high)
    return inside if bad is None else bad | inside


def declared(dtype: np.dtype[Any], first: float, last: float | None = None) -> NoData | None:
    """The range that a file declares as no data, if samples of `dtype` can have these values; NaN needs no telling."""
    ends = sorted((first, first if last is None else last))
    if not np.isfinite(ends).all():
        return None
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return (ends[0], ends[1]) if np.isfinite(np.array(ends, dtype)).all() else None
    if any(end != int(end) for end in ends):
        return None
    low, high = int(ends[0]), int(ends[1])
    return (low, high) if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max else None


def fill_warning(count: int, no_data: NoData | None = None) -> tuple[str, ...]:
    """What to say about `count` samples that hold no data."""
    kind = "are not finite numbers" if no_data is None else "hold no data, as the file declares"
    return (f"{count:,} samples {kind}; they come back as they were.",) if count else ()


def bounds(dtype: np.dtype[Any], bits: int | None) -> tuple[int, int] | None:
    """The least and greatest sample of an integer type with `bits` significant bits (None: all); floats have none."""
    if dtype.kind not in "iu":
        return None
    bits = bits or 8 * dtype.itemsize
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if dtype.kind == "i" else (0, (1 << bits) - 1)


def shift(dtype: np.dtype[Any]) -> int:
    """What is added to a sample of this type to make it a working pixel."""
    return _SHIFTED[dtype][1] if dtype in _SHIFTED else 0


def top(dtype: np.dtype[Any], bits: int | None) -> float | None:
    """The greatest sample of `bounds` as it stands among working pixels."""
    ends = bounds(dtype, bits)
    if ends is None:
        return None
    if dtype in _SHIFTED:
        return ends[1] + _SHIFTED[dtype][1]
    return float(np.float32(ends[1])) if dtype.itemsize > 2 else ends[1]


def from_working(
    pixels: Array,
    dtype: np.dtype[Any],
    before: Array,
    exact: Array | None,
    bits: int | None = None,
    no_data: NoData | None = None,
) -> Array:
    """`pixels` in the file's `dtype`, within its significant `bits`.

    Where they equal `before`, they are what the file had: the exact samples, if some were kept.
    """
    restored = unconverted(pixels, dtype)
    ends = bounds(dtype, bits)
    if bits is not None and ends is not None:
        restored = np.where(pixels == before, restored, np.clip(restored, *ends))
    if exact is None:
        return restored
    unchanged = pixels == before
    bad = without_data(exact, no_data)
    return np.where(unchanged if bad is None else unchanged | bad, exact.astype(dtype, copy=False), restored)


def as_floats(
    pixels: Array,
    dtype: np.dtype[Any],
    before: Array,
    exact: Array | None,
    units: Units,
    no_data: NoData | None,
    keep_marks: bool,
) -> Array:
    """`pixels` (working ones, or float32 where these were not rounded) as float32 in the units of the file's values.

    Samples of the file's `dtype` that hold no data stay marked as they were with `keep_marks`, else by NaN.
    """
    samples: Array = pixels.astype(np.float64) - shift(dtype)
    if exact is not None:
        samples = np.where(pixels == before, exact, samples)
    values = (units.offset + units.scale * samples).astype(np.float32)
    bad = None if exact is None else without_data(exact, no_data)
    if exact is not None and bad is not None:
        with np.errstate(over="ignore"):
            marks = exact.astype(np.float32) if keep_marks else np.float32(np.nan)
        values = np.where(bad, marks, values)
    return values


def unconverted(pixels: Array, dtype: np.dtype[Any]) -> Array:
    """The inverse of `_converted`, up to rounding."""
    if dtype in _SHIFTED:
        unsigned, offset = _SHIFTED[dtype]
        restored: Array = (pixels ^ unsigned(offset)).view(dtype)
        return restored
    if dtype.kind in "iu" and dtype.itemsize > 2:
        ends = np.iinfo(dtype)
        top = np.nextafter(float(ends.max), 0) if dtype.itemsize == 8 else ends.max  # 2^63 and 2^64 fit no type
        return np.clip(np.rint(pixels.astype(np.float64)), ends.min, top).astype(dtype)
    return pixels.astype(dtype, copy=False)


def flipped(stored: Array, bits: int | None) -> Array:
    """Integers of `bits` significant bits (None: all) with dark and light exchanged, its own inverse; floats stay.

    For files in which large means dark: noise grows with light, so the model must see light as large.
    """
    if stored.dtype.kind == "u" and bits is not None:
        inverse: Array = stored.dtype.type((1 << bits) - 1) - stored
        return inverse
    return ~stored if stored.dtype.kind in "iu" else stored


def flipped_range(no_data: NoData | None, dtype: np.dtype[Any], bits: int | None) -> NoData | None:
    """The range `no_data` after `flipped`; a range that it tears apart is none."""
    if no_data is None or dtype.kind not in "iu":
        return no_data
    ends = flipped(np.array(no_data, dtype), bits)
    return (int(ends[1]), int(ends[0])) if ends[1] <= ends[0] else None


def scaled_up(samples: Array, bits: int) -> Array:
    """9-15 bit samples in uint16, spread over 16 bit by repeating their top bits, as PNG recommends."""
    shifted = samples.astype(np.uint16) << np.uint16(16 - bits)
    return shifted | (shifted >> np.uint16(bits))
