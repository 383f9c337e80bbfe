"""The pages of a stack as a network is shown them, each made once, and the neighbours of each."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.arrays.missing import Mask, Missing, filled
from model.frames.series import mirrored
from model.inference.line_step import LineStep

Array = NDArray[Any]


class Page(NamedTuple):
    """A page (H, W, C).

    Attributes:
        gaps: which pixels measured nothing; None: none of them.
        seen: with these filled.
        without: without its lines, too.
        shifts: what those add to it; None: nothing.
    """

    gaps: Mask | None
    seen: Array
    without: Array
    shifts: NDArray[np.float32] | None

    def of(self, channels: slice) -> Page:
        """Some of its channels."""
        gaps = None if self.gaps is None else self.gaps[..., channels]
        shifts = None if self.shifts is None else self.shifts[..., channels]
        return Page(gaps, self.seen[..., channels], self.without[..., channels], shifts)


@dataclass
class Pages:
    """Makes pages ready; as many are kept as a network sees at once, so memory does not grow with the stack.

    Attributes:
        series: which series of frames each page belongs to; those of one lie beside each other in time or depth.
        frames: how many pages the network sees.
    """

    stack: Array
    missing: Missing
    lines: LineStep
    series: Sequence[int]
    frames: int
    _kept: OrderedDict[int, Page] = field(default_factory=OrderedDict, init=False)
    _members: dict[int, list[int]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for page, series in enumerate(self.series):
            self._members.setdefault(series, []).append(page)
        self._places = [0] * len(self.series)
        for those in self._members.values():
            for place, page in enumerate(those):
                self._places[page] = place

    def at(self, index: int) -> Page:
        """A page made ready."""
        found = self._kept.pop(index, None) or self._made(index)
        self._kept[index] = found
        while len(self._kept) > self.frames:
            self._kept.popitem(last=False)
        return found

    def beside(self, index: int) -> list[Page | None]:
        """The neighbours that the network sees with a page, nearest first; see `series.mirrored`."""
        those = self._members[self.series[index]]
        places = mirrored(self._places[index], len(those), self.frames)
        return [None if place is None else self.at(those[place]) for place in places]

    def _made(self, index: int) -> Page:
        page = self.stack[index]
        gaps = self.missing.of(index, page)
        seen = filled(page, gaps)
        return Page(gaps, seen, *self.lines.taken_out(index, seen))
