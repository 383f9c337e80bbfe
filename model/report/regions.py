"""Places where a result is farther from the truth than what was sent, told from the noise alone.

Let n be the noise of a square and d what was changed in it. By the triangle inequality the result's error is at least
rms(d) − rms(n), which exceeds rms(n) where more than twice the noise was changed. What `restraint` holds back never
comes this far; a normalisation that the caller chose, for which nothing is held back, may.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.arrays.missing import Mask
from model.noise import noise_level
from model.noise.noise_level import NoiseLevel
from model.report.layout import SAME, Layout

SIDE = 32  # of the squares that are judged; at the image's ends smaller ones are left out
TIMES = 2.2  # the noise, that is changed where the result is worse: 2, and what the noise may be wrong by
STEP = 1.0  # of integers, that rounding may change
IMPULSE = 5.0  # times the noise, beyond which a pixel counts no more: hot pixels are taken out with reason
EVERY = 4  # row and column that is looked at
MOST = 16  # regions that are named
REASON = "changed_more_than_noise"
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Region:
    """A rectangle of a page, in pixels of the result; page and channel count from 0."""

    page: int
    channel: int
    x: int
    y: int
    width: int
    height: int
    reason: str = REASON

    @property
    def pixels(self) -> int:
        return self.width * self.height

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass
class Regions:
    """Gathered page by page, in the array's pixels; only the `MOST` largest are kept.

    The sites of a mosaic are one image, of which a square is named once, whichever of them it is worse in.
    """

    layout: Layout = SAME
    found: list[Region] = field(default_factory=list)
    bad: int = 0
    values: int = 0

    def add(
        self,
        page: int,
        noisy: NDArray[Any],
        result: NDArray[Any],
        gaps: Mask | None,
        noise: Sequence[Sequence[NoiseLevel]],
    ) -> None:
        """A page and its result (H, W, C).

        Args:
            gaps: pixels that measured nothing, which count as unchanged.
            noise: of every channel; of none where it is not known and has to be read off the page.
        """
        self.values += noisy.size
        of_any: Mask | None = None
        for channel in range(noisy.shape[-1]):
            one = np.s_[..., channel]
            known = list(noise[channel]) or noise_level.estimate(
                noise_level.squares(noisy[None], [0], slice(channel, channel + 1))
            )
            if known:
                absent = None if gaps is None else gaps[one]
                worse = changed_too_much(noisy[one], result[one], absent, known[0])
                self.bad += int(np.count_nonzero(worse)) * SIDE**2
                if self.layout.one_channel:
                    of_any = worse if of_any is None else of_any | worse
                else:
                    self._keep(rectangles(worse, page, channel))
        if of_any is not None:
            self._keep(rectangles(of_any, page, 0))

    def _keep(self, some: list[Region]) -> None:
        self.found = sorted([*self.found, *some], key=lambda one: -one.pixels)[:MOST]

    def named(self) -> list[Region]:
        """Those that were kept, as places of the image."""
        sides = [self.layout.rectangle(one.x, one.y, one.width, one.height) for one in self.found]
        return [
            replace(one, x=x, y=y, width=width, height=height)
            for one, (x, y, width, height) in zip(self.found, sides, strict=True)
        ]

    def warnings(self) -> list[str]:
        """What a person should know of it; nothing where nothing was found."""
        if not self.found:
            return []
        share, first = 100 * self.bad / max(1, self.values), self.named()[0]
        return [
            f"do not trust the result everywhere: in {share:.2g} % of the image more than twice as much was changed as "
            f"there is noise, so that it is farther from the truth there than what you sent (largest: {first.width} x "
            f"{first.height} pixels from row {first.y}, column {first.x} on; `regions` lists the places). Send it with "
            "`normalize=auto`, or take the original there"
        ]


def changed_too_much(noisy: NDArray[Any], result: NDArray[Any], absent: Mask | None, noise: NoiseLevel) -> Mask:
    """Of the squares of a channel (H, W), (H // SIDE, W // SIDE): where more than twice the noise was changed."""
    rows, columns = noisy.shape[0] // SIDE, noisy.shape[1] // SIDE
    some = np.s_[: rows * SIDE : EVERY, : columns * SIDE : EVERY]
    before = noisy[some].astype(np.float64)  # so few that float32 would save nothing
    change = result[some].astype(np.float64) - before
    squared = np.square(change)
    variance = noise.variance_at(np.maximum(before, before + change))
    if absent is not None:
        squared[absent[some]] = 0
    whole = result.dtype.kind in "ui"
    np.minimum(squared, IMPULSE**2 * variance + STEP * whole, out=squared)
    taken, expected = (np.sqrt(_means(of, rows, columns)) for of in (squared, variance))
    return np.asarray(taken > TIMES * expected + STEP * whole)


def rectangles(worse: Mask, page: int, channel: int) -> list[Region]:
    """The squares of a mask as rectangles: runs in a row, joined with equal ones below."""
    found: list[Region] = []
    growing: dict[
        tuple[int, int], int
    ] = {}  # first row of the runs that the row before has, by first column and length
    for row in range(worse.shape[0] + 1):
        runs = set() if row == worse.shape[0] else set(_runs(worse[row]))
        for (start, length), first in list(growing.items()):
            if (start, length) not in runs:
                sides = start * SIDE, first * SIDE, length * SIDE, (row - first) * SIDE
                found.append(Region(page, channel, *sides))
                del growing[start, length]
        for run in runs:
            growing.setdefault(run, row)
    return found


def _runs(row: Mask) -> list[tuple[int, int]]:
    """First place and length of the runs of set squares."""
    ends = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]]).astype(np.int8)))
    return [(int(start), int(stop - start)) for start, stop in zip(ends[::2], ends[1::2], strict=True)]


def _means(values: NDArray[np.float64], rows: int, columns: int) -> NDArray[np.float64]:
    side = SIDE // EVERY
    found: NDArray[np.float64] = values.reshape(rows, side, columns, side).mean((1, 3))
    return found
