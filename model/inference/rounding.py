"""Whole numbers of what a network gives, so that means stay right where a step is coarser than the result's error.

Of photon counts below about one a pixel, rounding to the nearest makes 0 everywhere. There a value is rounded up with
the probability of its fraction (stochastic rounding; Croci et al., R. Soc. Open Sci. 9:211631, 2022): unbiased, for an
error of up to half a step. Elsewhere the result's own error scatters about the steps and rounding to the nearest is
unbiased enough. The threshold of a pixel is a hash of a seed and its place, so tiles, crops and retries give the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.arrays.normalise import Normalisation
from model.planes import PlaneKind
from model.report.report import Report

Array = NDArray[Any]
Floats = NDArray[np.float32]
BLOCK = 16  # side of the squares of a fixed grid in which the noise is measured
COARSE = 2.0  # noise std in steps below which the result's error is below half a step: it is about a fifth (measured)
FEW_STEPS = 64.0  # in a range of so few, a constant block may hold faint light; in a wider one it is a flat drawing
MANY_STEPS = 2048.0  # a range of so many: what rounding adds cannot be seen in the report
STD_OF_MEAN_ABSOLUTE = 1.2533  # of a normal distribution; means of absolute values forgive single bright pixels
TALLIED = 4  # every so manieth row and column is looked at for what rounding did
TOLD_SHARE = 0.05  # of the pixels; more that were rounded by chance are spoken of
_MIX = (np.uint32(0x7FEB352D), np.uint32(0x846CA68B))  # C. Wellons, "Prospecting for Hash Functions", lowbias32
_ODD = np.uint32(0x9E3779B1)
_WORD = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Rounding:
    """How a result becomes whole numbers.

    Attributes:
        seed: of the thresholds, 64 bits; that of a file is told by its bytes.
        row, column: place of the array's first pixel in the whole image.
        integers: whether an array of floats holds whole numbers, as one does that was made of 32-bit integers.
    """

    seed: int = 0
    row: int = 0
    column: int = 0
    integers: bool = False


BY_PLACE = Rounding()
"""The same thresholds for every array."""


@dataclass
class _Tally:
    """Of a kind of plane: pixels, how many were rounded by chance, and the sums of rounding errors in steps."""

    pixels: int = 0
    by_chance: int = 0
    error: float = 0.0
    squares: float = 0.0


@dataclass
class Rounder:
    """Adds changes to the pixels of one array, and knows what rounding did to them.

    Args:
        scalings: the normalisation of every kind of plane.
        strength: share of the noise that a change takes out.
    """

    rounding: Rounding
    scalings: Mapping[PlaneKind, Normalisation]
    strength: float
    _tallies: dict[PlaneKind, _Tally] = field(default_factory=dict)

    def add(self, pixels: Array, change: Floats, kind: PlaneKind, place: tuple[int, int, int]) -> None:
        """pixels += change, (h, w, c) of any working type; `place` is (page, row, column) of the first one."""
        whole = pixels.dtype.kind in "iu"
        if not whole and not self.rounding.integers:
            pixels += change.astype(pixels.dtype)
            return
        corner = place[1] + self.rounding.row, place[2] + self.rounding.column
        scale = self.scalings[kind].scale
        by_chance = self._coarse(pixels, change, corner, scale)
        steps = change + np.float32(0.5)
        if by_chance is not None:
            steps = _thresholds(self.rounding.seed, place[0], corner, change.shape, kind[1])
            np.copyto(steps, np.float32(0.5), where=~by_chance)
            steps += change
        np.floor(steps, out=steps)
        if not whole:  # what is not coarse is rounded once it is an integer again
            steps = change if by_chance is None else np.where(by_chance, steps, change)
        wide: Array = pixels.astype(np.float64 if pixels.dtype.itemsize > 2 else np.float32)
        after = np.add(wide, steps)
        if whole:
            ends = np.iinfo(pixels.dtype)
            np.clip(after, ends.min, ends.max, out=after)
        some = (slice(None, None, TALLIED), slice(None, None, TALLIED))
        error = np.zeros(1)
        if scale < MANY_STEPS or by_chance is not None:
            error = np.subtract(after[some], pixels[some]) - change[some]
        self._count(kind, after[some].size, error, None if by_chance is None else by_chance[some])
        pixels[...] = after.astype(pixels.dtype)

    def _coarse(self, pixels: Array, change: Floats, corner: tuple[int, int], scale: float) -> NDArray[np.bool_] | None:
        """Which pixels are rounded by chance, (h, w, c); None if none are."""
        rows, columns = (_Grid(start, side) for start, side in zip(corner, change.shape[:2], strict=True))
        some = rows.looked_at, columns.looked_at
        means = _in_blocks(np.add, np.abs(change[some]), rows, columns)
        means /= np.outer(rows.counts, columns.counts)[..., None]
        coarse: NDArray[np.bool_] = STD_OF_MEAN_ABSOLUTE * means < COARSE * self.strength
        if scale >= FEW_STEPS and coarse.any():
            few = pixels[some]
            coarse &= _in_blocks(np.maximum, few, rows, columns) > _in_blocks(np.minimum, few, rows, columns)
        if not coarse.any():
            return None
        found: NDArray[np.bool_] = coarse.repeat(rows.sides, axis=0).repeat(columns.sides, axis=1)
        return found

    def _count(self, kind: PlaneKind, pixels: int, error: Array, by_chance: NDArray[np.bool_] | None) -> None:
        tally = self._tallies.setdefault(kind, _Tally())
        tally.pixels += pixels
        tally.by_chance += 0 if by_chance is None else int(np.count_nonzero(by_chance))
        tally.error += float(error.sum(dtype=np.float64))
        tally.squares += float(np.vdot(error, error))

    def told(self, report: Report) -> Report:
        """The report of what is delivered: rounding moves its mean, and adds to the error left."""
        if not self._tallies:
            return report
        kinds = sorted(self.scalings)
        channels = [
            one | {"noise_std_out": self._with_error(kind, one["noise_std_out"])}
            for kind, one in zip(kinds, report.channels, strict=False)
        ]
        noisiest = max(range(len(channels)), key=lambda index: channels[index]["noise_std_in"]) if channels else 0
        kind = kinds[noisiest]
        tally = self._tallies.get(kind, _Tally())
        moved = tally.error / max(tally.pixels, 1) / self.scalings[kind].scale
        share = sum(one.by_chance for one in self._tallies.values()) / sum(one.pixels for one in self._tallies.values())
        warnings = [_COARSE_WARNING, *report.warnings] if share > TOLD_SHARE else report.warnings
        return replace(
            report,
            noise_std_out=self._with_error(kind, report.noise_std_out),
            residual_mean=float(f"{report.residual_mean - moved:.6g}"),
            rounded_share=float(f"{share:.6g}"),
            channels=channels,
            warnings=warnings,
        )

    def _with_error(self, kind: PlaneKind, std: float) -> float:
        tally = self._tallies.get(kind, _Tally())
        added = tally.squares / max(tally.pixels, 1) / self.scalings[kind].scale ** 2
        return float(f"{(std**2 + added) ** 0.5:.6g}")


_COARSE_WARNING = (
    "`output_dtype=float32` gives the values themselves: the file's whole numbers are coarser than the result's error, "
    "so values between two of them were rounded up or down by chance, which keeps every mean but adds noise"
)


class _Grid:
    """Blocks along one side, of a grid at multiples of `BLOCK`: `side` lines from line `start` on.

    Attributes:
        sides: lines of each block; the first and the last may have fewer than `BLOCK`.
        looked_at: every second line, of whatever lies where; `counts`, how many of them a block has.
        starts: where the blocks begin among those.
    """

    def __init__(self, start: int, side: int) -> None:
        edges = np.unique(np.concatenate([[0], np.arange(-start % BLOCK, side, BLOCK), [side]]))
        if start % BLOCK == BLOCK - 1 and side > 1:  # a single line that is not looked at goes with the next ones
            edges = np.delete(edges, 1)
        first = start % 2 if side > 1 else 0
        self.sides = np.diff(edges)
        self.looked_at = slice(first, None, 2)
        seen = np.maximum(-(-(edges - first) // 2), 0)
        self.starts, self.counts = seen[:-1], np.diff(seen)


def _in_blocks(what: Any, values: Array, rows: _Grid, columns: _Grid) -> Array:
    """A ufunc over the blocks of (h, w, c): (rows, columns, c)."""
    found: Array = what.reduceat(what.reduceat(values, rows.starts, axis=0), columns.starts, axis=1)
    return found


def _thresholds(seed: int, page: int, corner: tuple[int, int], shape: tuple[int, ...], channel: int) -> Floats:
    """(h, w, c) in [0, 1), each a function of the seed, the page and the pixel's place and channel alone."""
    height, width, channels = shape
    key = _mixed(np.array([seed & _WORD, seed >> 32 & _WORD, page], np.uint32))
    lines = _mixed(np.arange(corner[0], corner[0] + height, dtype=np.uint32) * _ODD + key[0]) ^ key[1]
    across = _mixed(np.arange(corner[1], corner[1] + width, dtype=np.uint32) * _ODD + key[2])
    others = _mixed(np.arange(channel, channel + channels, dtype=np.uint32) * _ODD)
    words = _mixed((lines[:, None, None] ^ others[None, None]) + across[None, :, None])
    words >>= np.uint32(8)
    thresholds: Floats = words.astype(np.float32)
    thresholds *= np.float32(2**-24)
    return thresholds


def _mixed(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """In place: every bit of the result depends on all of a word's, by two rounds of multiply and shift."""
    shifted = words >> np.uint32(16)
    words ^= shifted
    words *= _MIX[0]
    np.right_shift(words, np.uint32(15), out=shifted)
    words ^= shifted
    words *= _MIX[1]
    np.right_shift(words, np.uint32(16), out=shifted)
    words ^= shifted
    return words
