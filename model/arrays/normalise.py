"""File values to the model's units and back: one affine map a stack and kind of plane, never one a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
KNOWN = (-0.5, 2.0)  # normalised values that training showed the networks: 1 with the strongest noise on it, and 0
STAYING = (-1.0, 4.0)  # beyond these is no brightness with noise on it but a hot pixel, a star, a mark: it stays
OWN_RANGE = (-0.5, 1.5)  # where an image's percentiles may lie for a fine-tuned model's own normalisation to fit it
LEAST_FILL = 1 / 16
FAR = 2.0  # a value this many ranges of all others away from them is a mark for "no data", not a brightness


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
            with np.errstate(over="ignore"):  # what is too far becomes infinite, and is cut to what the networks know
                return ((values.astype(np.float64) - self.offset) / self.scale).astype(np.float32)
        return (values.astype(np.float32) - np.float32(self.offset)) / np.float32(self.scale)

    def to_dict(self) -> dict[str, float]:
        return {"offset": self.offset, "scale": self.scale}


IDENTITY = Normalisation(0.0, 1.0)


def choose(values: NDArray[Any], mode: str) -> Normalisation:
    """The normalisation of values of any shape; see `sample` for those of a stack.

    `auto` stretches percentiles to [0, 1], `dtype` divides integers by their largest value and leaves floats alone,
    `none` takes the values as they are.

    Raises:
        InvalidOption: no such mode.
        InvalidArray: the values span more than a number can hold, or some are NaN or infinite.
    """
    if mode == "none":
        return IDENTITY
    integer = np.issubdtype(values.dtype, np.integer)
    if mode == "dtype":
        return Normalisation(0.0, float(np.iinfo(values.dtype).max) if integer else 1.0)
    if mode != "auto":
        raise InvalidOption(f"normalize must be auto, dtype or none, not {mode!r}")
    low, high = brightness_range(values)
    scale = max(high - low, SMALLEST_RANGE_8BIT if values.dtype == np.uint8 else 0.0)
    if not np.isfinite(scale):
        raise InvalidArray(f"the values span {low:.3g} to {high:.3g}, too far for float64: mark missing pixels by NaN")
    # Of a constant image all pixels are 0, or so far from it that they are left alone: one step of an integer, and of a
    # float next to nothing, so that no error of the network's can be seen in it.
    return Normalisation(low, scale if scale > 0 else 1.0 if integer else 1e-6 * abs(high) or 1e-30)


def fits(own: Normalisation, values: NDArray[Any]) -> bool:
    """Whether the percentiles of values lie where a model whose own normalisation this is was trained."""
    return all(OWN_RANGE[0] <= (end - own.offset) / own.scale <= OWN_RANGE[1] for end in brightness_range(values))


def fills_scale(values: NDArray[Any]) -> bool:
    """Whether integers use their type's scale, so that a model of the tone curve may go by it.

    All of 8 bits do, dark as they may be; of more bits those that reach beyond a 16th of the scale, which 12 bits
    stored in 16 do not.
    """
    if not np.issubdtype(values.dtype, np.integer):
        return False
    return values.dtype == np.uint8 or brightness_range(values)[1] > LEAST_FILL * float(np.iinfo(values.dtype).max)


def brightness_range(values: NDArray[Any]) -> tuple[float, float]:
    """The 0.05th and 99.95th percentile of values of any shape, without a mark for missing pixels (-9999, 65535).

    Raises:
        InvalidArray: some are NaN or infinite.
    """
    values = values.reshape(-1)[:: _step(values.size, SAMPLE)]
    require_finite(values)
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        counts = np.bincount(values)  # few values: counting takes a tenth of what sorting takes
        levels = np.flatnonzero(counts)
        counts = counts[levels]
    else:
        low, high = (float(v) for v in np.percentile(values.astype(np.float64), (TAIL, 100 - TAIL)))
        if low > values.min() and high < values.max():
            return low, high
        levels, counts = np.unique(values.astype(np.float64), return_counts=True)
    return _without_marks(levels, counts)


def _without_marks(levels: NDArray[Any], counts: NDArray[np.int64]) -> tuple[float, float]:
    """The percentiles of ascending levels; those of the others where the lowest, the highest or both are marks.

    Only a level that so many pixels have that it is a percentile can be a mark.
    """
    low, high = _percentiles(levels, counts)
    first, last = int(low == levels[0]), len(levels) - int(high == levels[-1])
    for start, stop in ((first, last), (first, len(levels)), (0, last)):
        if stop - start < 2 or stop - start == len(levels):
            continue
        rest_low, rest_high = _percentiles(levels[start:stop], counts[start:stop])
        gaps = [rest_low - float(levels[0])] * start + [float(levels[-1]) - rest_high] * (len(levels) - stop)
        if FAR * (rest_high - rest_low) < min(gaps):
            return rest_low, rest_high
    return low, high


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


def _percentiles(levels: NDArray[Any], counts: NDArray[np.int64]) -> tuple[float, float]:
    """As np.percentile at `TAIL` and 100 − `TAIL` of values that are given by their ascending levels and counts."""
    up_to = np.cumsum(counts)
    last = int(up_to[-1]) - 1

    def at(rank: int) -> float:
        return float(levels[np.searchsorted(up_to, min(rank, last), side="right")])

    def between(rank: float) -> float:
        below = at(int(rank))
        return below + (rank - int(rank)) * (at(int(rank) + 1) - below)

    return between(TAIL / 100 * last), between((100 - TAIL) / 100 * last)


def sample(stack: NDArray[Any], pages: Sequence[int], channels: slice, count: int = SAMPLE) -> NDArray[Any]:
    """About `count` values of some pages and channels of (N, H, W, C), evenly spaced.

    Of a large stack only `SAMPLED_BYTES` are touched: it may live on disk.
    """
    pages = sampled_pages(stack, pages)
    found = []
    for page in (stack[index] for index in pages):
        step = _step(page.shape[0] * page.shape[1], count // (len(pages) * (channels.stop - channels.start)))
        if page.flags.c_contiguous:
            picked = page.reshape(-1, page.shape[-1])[::step, channels]
        else:  # a crop, which would have to be copied to be walked through pixel by pixel
            side = math.isqrt(step) | 1
            picked = page[::side, ::side, channels]
        found.append(picked.reshape(-1))
    return found[0] if len(found) == 1 else np.concatenate(found)


def sampled_pages(stack: NDArray[Any], pages: Sequence[int]) -> Sequence[int]:
    """Those of the pages of a stack (N, H, W, C) that `sample` touches."""
    touched = max(1, SAMPLED_BYTES // max(1, stack[0].nbytes))
    if len(pages) <= touched:
        return pages
    return [pages[i] for i in np.linspace(0, len(pages) - 1, touched).astype(int)]


def _step(size: int, count: int) -> int:
    """A stride that picks about `count` of `size`; prime to 2 and 3, or it would pick few columns, or one colour."""
    step = max(1, size // max(1, count)) | 1
    return step + 2 if step % 3 == 0 else step
