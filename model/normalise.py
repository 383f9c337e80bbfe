"""File values to the model's units and back: one affine map a stack, never one a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from model.errors import InvalidArray, InvalidOption

Normalize = Literal["auto", "dtype", "none"]
SAMPLE = 1 << 20  # pixels looked at for percentiles
SAMPLED_BYTES = 1 << 28  # of a large stack, only so many bytes are touched: it may live on disk
TAIL = 0.05  # percent of the pixels that may lie outside [0, 1] at either end
SMALLEST_RANGE_8BIT = 16.0  # a flat 8-bit image must not have its rounding steps blown up to look like noise


@dataclass(frozen=True)
class Normalisation:
    """x = (value − offset) / scale.

    In `auto`, `offset` and `offset + scale` are the 0.05th and 99.95th percentiles of the whole stack.
    """

    offset: float
    scale: float

    def to_unit(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """File values as float32 in about [0, 1], any shape."""
        if values.dtype.itemsize > 2:  # float32 would round 32-bit integers and doubles before the subtraction
            return ((values.astype(np.float64) - self.offset) / self.scale).astype(np.float32)
        return (values.astype(np.float32) - np.float32(self.offset)) / np.float32(self.scale)

    def to_dict(self) -> dict[str, float]:
        return {"offset": self.offset, "scale": self.scale}


IDENTITY = Normalisation(0.0, 1.0)


def choose(stack: NDArray[Any], mode: str) -> Normalisation:
    """The normalisation of a stack of any shape.

    `auto` stretches percentiles to [0, 1], `dtype` divides integers by their largest value and leaves floats alone,
    `none` takes the values as they are.

    Raises:
        InvalidOption: no such mode.
    """
    if mode == "none":
        return IDENTITY
    integer = np.issubdtype(stack.dtype, np.integer)
    if mode == "dtype":
        return Normalisation(0.0, float(np.iinfo(stack.dtype).max) if integer else 1.0)
    if mode != "auto":
        raise InvalidOption(f"normalize must be auto, dtype or none, not {mode!r}")
    low, high = _percentiles(_sample(stack), (TAIL, 100 - TAIL))
    smallest = SMALLEST_RANGE_8BIT if stack.dtype == np.uint8 else 0.0
    scale = max(float(high - low), smallest)
    return Normalisation(float(low), scale if scale > 0 else max(1.0, abs(float(high))))


def require_finite(values: NDArray[Any]) -> None:
    """Refuse NaN and infinity.

    Raises:
        InvalidArray: naming how many there are and what to do.
    """
    if not np.issubdtype(values.dtype, np.floating) or np.isfinite(values.sum(dtype=np.float64)):
        return
    bad = values.size - int(np.count_nonzero(np.isfinite(values)))
    if bad:
        raise InvalidArray(f"{bad} of {values.size} values are NaN or infinite: replace them (e.g. by 0) and try again")


def _percentiles(values: NDArray[Any], percents: tuple[float, float]) -> list[float]:
    """As np.percentile; counted rather than sorted where the type has few values."""
    if values.dtype.kind != "u" or values.dtype.itemsize > 2:
        return [float(v) for v in np.percentile(values.astype(np.float64), percents)]
    up_to = np.cumsum(np.bincount(values))

    def at(rank: int) -> int:
        return int(np.searchsorted(up_to, rank, side="right"))

    ranks = [percent / 100 * (values.size - 1) for percent in percents]
    last = values.size - 1
    return [at(int(r)) + (r - int(r)) * (at(min(int(r) + 1, last)) - at(int(r))) for r in ranks]


def _sample(stack: NDArray[Any]) -> NDArray[Any]:
    """About `SAMPLE` evenly spaced values; a stride prime to the usual row lengths avoids picking few columns."""
    if stack.ndim == 4 and len(stack) > 1 and stack.nbytes > SAMPLED_BYTES:
        pages = max(1, SAMPLED_BYTES // stack[0].nbytes)
        which = np.linspace(0, len(stack) - 1, pages).astype(int)
        return np.concatenate([_strided(stack[index], SAMPLE // pages) for index in which])
    return _strided(stack, SAMPLE)


def _strided(values: NDArray[Any], count: int) -> NDArray[Any]:
    flat = values.reshape(-1) if values.flags.c_contiguous else values.ravel()
    step = max(1, flat.size // max(1, count))
    return flat[:: step | 1]
