"""How far the scene moves between two frames, and where it changes, seen through their noise.

One shift for the whole frame: a stage that drifts. What moves otherwise is told apart as change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.arrays.pixels import Pixels

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]

LARGEST_SHIFT = 24  # pixels between two frames
SEEN, SPOT = 5, 3  # sides of the boxes that smooth for structure and for small changes: σ = 2.4 and 1.4 pixels
TIMES = 3  # a box is applied
ROUNDS = 4  # of the fine search; each one's error is about a tenth of the one's before
SHAPELESS = 1e-3  # of the squared sum of both slopes; below, the scene shows no shift along its edges
BLOCKS = 6  # a side, whose disagreement tells the error
TAPS = 4  # lobes of the windowed sinc
CHANGED = 4.0  # standard deviations of the smoothed difference
SPREAD = 1.4826  # std over median absolute deviation, of a Gaussian


class Shift(NamedTuple):
    """Where the first frame's pixel (y, x) lies in the second one: at (y + rows, x + columns).

    Attributes:
        likeness: correlation of the two once one is shifted, of what is left by smoothing; 1 are equal.
        error: std of rows and columns, as blocks of the frame disagree.
    """

    rows: float
    columns: float
    likeness: float = 1.0
    error: float = 0.0

    @property
    def length(self) -> float:
        return float(np.hypot(self.rows, self.columns))


def shift_between(first: Floats, second: Floats) -> Shift:
    """The shift between two frames (H, W) of one scene, to a few hundredths of a pixel.

    The whole pixels from their correlation, the rest by least squares on the gradient (Lucas and Kanade, "An iterative
    image registration technique", IJCAI 1981).
    """
    return shift_of_structures(structure(first), structure(second))


def shift_of_structures(a: Floats, b: Floats) -> Shift:
    """As `shift_between`, of what `structure` made of the frames."""
    rows, columns = (float(side) for side in _whole_pixels(a, b))
    edge = min(LARGEST_SHIFT + TAPS, min(a.shape) // 4)
    inner = (slice(edge, -edge), slice(edge, -edge))
    reach = min(LARGEST_SHIFT, edge)
    slopes = _slopes(a, inner)
    moved_back = moved(b, rows, columns)
    normal: NDArray[Any] = np.eye(2)
    for _ in range(ROUNDS):
        # Of two frames, whose noise is independent: the squares of one frame's slopes would count its noise, too.
        normal = slopes @ _slopes(moved_back, inner).T
        normal = (normal + normal.T) / 2
        if not _is_definite(normal):
            return Shift(rows, columns, _correlation(a[inner], moved_back[inner]), float("inf"))
        step = np.clip(np.linalg.solve(normal, slopes @ (a - moved_back)[inner].ravel()), -1, 1)
        rows, columns = (float(np.clip(v + s, -reach, reach)) for v, s in zip((rows, columns), step, strict=True))
        moved_back = moved(b, rows, columns)
    error = _error(normal, slopes, (a - moved_back)[inner])
    return Shift(rows, columns, _correlation(a[inner], moved_back[inner]), error)


def _slopes(frame: Floats, inner: tuple[slice, slice]) -> Floats:
    return np.stack([np.asarray(np.gradient(frame, axis=axis))[inner].ravel() for axis in (0, 1)])  # (2, n)


def _is_definite(normal: NDArray[Any]) -> bool:
    return bool(np.trace(normal) > 0 and np.linalg.det(normal) > SHAPELESS * np.trace(normal) ** 2)


def moved(frame: Floats, rows: float, columns: float) -> Floats:
    """A frame (…, H, W) read at (y + rows, x + columns), repeated beyond its edges."""
    height, width = frame.shape[-2:]
    down, across = (
        np.arange(1 - TAPS, side + TAPS) + int(np.floor(by)) for side, by in ((height, rows), (width, columns))
    )
    wide = frame.take(np.clip(down, 0, height - 1), -2).take(np.clip(across, 0, width - 1), -1)
    return _between_pixels(wide, rows, columns)


def moved_window(
    image: Pixels, rows: slice, columns: slice, shift: Shift, to_unit: Callable[[Pixels], Floats]
) -> Floats:
    """A window of an image (C, H, W) read at (y + shift.rows, x + shift.columns), of which only that is read.

    Args:
        to_unit: makes the values that are given of those in the image.

    Returns:
        (C, h, w), NaN where a value takes pixels beyond the image.
    """
    spans = [
        (span.start + int(np.floor(by)) + 1 - TAPS, span.stop + int(np.floor(by)) + TAPS)
        for span, by in ((rows, shift.rows), (columns, shift.columns))
    ]
    there = [slice(min(max(start, 0), side), min(max(stop, 0), side))
             for (start, stop), side in zip(spans, image.shape[1:], strict=True)]  # fmt: skip
    wide = np.full((len(image), *(stop - start for start, stop in spans)), np.nan, np.float32)
    inside = [slice(of.start - start, of.stop - start) for of, (start, _) in zip(there, spans, strict=True)]
    wide[:, *inside] = to_unit(image[:, *there])
    return _between_pixels(wide, shift.rows, shift.columns)


def _between_pixels(wide: Floats, rows: float, columns: float) -> Floats:
    """What lies at the parts of a pixel of a shift, by a windowed sinc (Lanczos); `wide` has its taps about it.

    Unlike linear interpolation it leaves sharp what a camera's pixels can show.
    """
    for axis, by in ((-2, rows), (-1, columns)):
        part = by - np.floor(by)
        taps = np.arange(1 - TAPS, TAPS + 1)
        weights = np.sinc(taps - part) * np.sinc((taps - part) / TAPS)
        weights = (weights / weights.sum()).astype(np.float32)
        size = wide.shape[axis] - 2 * TAPS + 1
        along = np.moveaxis(wide, axis, 0)
        found = sum(weight * along[tap : tap + size] for tap, weight in enumerate(weights))
        wide = np.moveaxis(np.asarray(found, np.float32), 0, axis)
    return wide


def smoothed(frame: Floats, side: int) -> Floats:
    """A frame (…, H, W) under a box of `side` pixels, `TIMES` times."""
    for axis in (-2, -1):
        for _ in range(TIMES):
            before = [(0, 0)] * frame.ndim
            before[axis] = (side // 2 + 1, side // 2)
            sums = np.cumsum(np.pad(frame, before, mode="edge"), axis, dtype=np.float64)
            count = sums.shape[axis]
            upper, lower = (sums.take(range(*ends), axis) for ends in ((side, count), (0, count - side)))
            frame = ((upper - lower) / side).astype(np.float32)
    return frame


def differences(first: Floats, second: Floats, variance: Floats) -> Floats:
    """The smoothed difference of two frames (…, H, W) in units of about what noise of `variance` would give it."""
    noise = np.sqrt(np.maximum(smoothed(variance, SPOT), np.float32(1e-10)))
    return np.asarray(smoothed(second - first, SPOT) / noise, np.float32)


def spread_of(difference: Floats) -> float:
    """Std of a difference where nothing changed: what is most of it."""
    return max(SPREAD * float(np.median(np.abs(difference))), 1e-6)


def changed(difference: Floats, spread: float) -> Flags:
    """Where the scene is another one, (…, H, W)."""
    return np.asarray(np.abs(difference) > CHANGED * spread)


def structure(frame: Floats) -> Floats:
    """What noise leaves to see of a frame, without its slow changes of light."""
    fine = smoothed(frame, SEEN)
    coarse = fine
    for _ in range(4):
        coarse = smoothed(coarse[::2, ::2], SEEN) if min(coarse.shape) >= 32 else coarse
    rows, columns = (np.clip((np.arange(side) + 0.5) * n / side - 0.5, 0, n - 1)
                     for side, n in zip(fine.shape, coarse.shape, strict=True))  # fmt: skip
    return (fine - _linear(coarse, rows, columns)).astype(np.float32)


def _error(normal: NDArray[Any], slopes: NDArray[Any], rest: Floats) -> float:
    """Std of a least-squares shift, from how much the blocks of a frame pull (White's "sandwich", 1980)."""
    pull = slopes.reshape(2, *rest.shape) * rest
    rows, columns = (np.linspace(0, side, BLOCKS + 1).astype(int)[:-1] for side in rest.shape)
    blocks = np.add.reduceat(np.add.reduceat(pull, rows, 1), columns, 2).reshape(2, -1)
    inverse = np.linalg.inv(normal)
    return float(np.sqrt(np.trace(inverse @ (blocks @ blocks.T) @ inverse) / 2))


def _linear(image: Floats, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> Floats:
    for axis, places in ((0, rows), (1, columns)):
        low = np.floor(places).astype(int)
        part = (places - low).reshape((-1, 1) if axis == 0 else (1, -1)).astype(np.float32)
        high = np.minimum(low + 1, image.shape[axis] - 1)
        image = image.take(low, axis) * (1 - part) + image.take(high, axis) * part
    return image


def _whole_pixels(a: Floats, b: Floats) -> tuple[int, int]:
    """Where the correlation of two frames is largest, within `LARGEST_SHIFT`."""
    window = np.outer(*(np.hanning(side) for side in a.shape))
    spectra = [np.fft.rfft2((one - one.mean()) * window) for one in (a, b)]
    correlation = np.fft.irfft2(np.conj(spectra[0]) * spectra[1], a.shape)
    reach = min(LARGEST_SHIFT, min(a.shape) // 4)
    near = np.roll(correlation, (reach, reach), (0, 1))[: 2 * reach + 1, : 2 * reach + 1]
    row, column = np.unravel_index(int(near.argmax()), near.shape)
    return int(row) - reach, int(column) - reach


def _correlation(a: Floats, b: Floats) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a * a).sum(dtype=np.float64) * (b * b).sum(dtype=np.float64)))
    return float((a * b).sum(dtype=np.float64)) / size if size > 0 else 0.0
