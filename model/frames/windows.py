"""Windows of frames with their neighbours and with other looks at the same scene, for training and for judging."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from model.arrays.normalise import Normalisation
from model.arrays.pixels import Pixels
from model.frames import motion
from model.frames.series import Motions, Series
from model.networks.unets import ABSENT

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Frames:
    """A part of a set whose frames are read with their neighbours.

    Attributes:
        images: (C, H, W) each, views of the part; those of one series cover the same pixels.
        numbers: of the images in the set.
        count: frames that a network sees, the page itself among them: 1, 3 or 5.
        motions: for targets; None: none are asked for.
    """

    images: Sequence[Pixels]
    numbers: Sequence[int]
    series: Series
    scaling: Normalisation
    count: int = 1
    motions: Motions | None = None

    @property
    def lag(self) -> int:
        """How far away targets lie: beyond what the network sees."""
        return self.count // 2 + 1

    def targeted(self, both: bool = False) -> list[int]:
        """The images of this part that have a target, or `both` of them."""
        least = 2 if both else 1
        return [
            place for place, number in enumerate(self.numbers) if len(self.series.seconds(number, self.lag)) >= least
        ]

    def window(self, place: int, rows: slice, columns: slice) -> Floats:
        """An image's window and its neighbours' (count·C, h, w): the image itself, then -1, +1, -2, +2."""
        number = self.numbers[place]
        at = [place, *(self._place(other) for other in self.series.neighbours(number, self.count))]
        own = self._unit(place, rows, columns)
        return np.concatenate(
            [np.full_like(own, ABSENT) if one is None else self._unit(one, rows, columns) for one in at]
        )

    def targets(self, place: int, rows: slice, columns: slice) -> Floats:
        """The same scene in the frames `lag` before and behind, (2·C, h, w); NaN where they do not show it.

        Each is moved to where the scene lies in the image, and left out where the scene has changed.
        """
        assert self.motions is not None
        number, found = self.numbers[place], []
        own = self._unit(place, rows, columns)
        for lag in (-self.lag, self.lag):
            other = self.series.at(number, lag)
            at = None if other is None else self._place(other)
            found.append(np.full_like(own, np.nan) if at is None else self._target(own, place, at, lag, rows, columns))
        return np.concatenate(found)

    def _target(self, own: Floats, place: int, at: int, lag: int, rows: slice, columns: slice) -> Floats:
        assert self.motions is not None
        shift, spread = self.motions.between(self.numbers[place], lag)
        shown = motion.moved_window(self.images[at], rows, columns, shift, self.scaling.to_unit)
        away = self.motions.differences(own, np.where(np.isnan(shown), own, shown), self.numbers[place])
        shown[motion.changed(away, spread)] = np.nan
        return shown

    @cached_property
    def _where(self) -> dict[int, int]:
        return {number: place for place, number in enumerate(self.numbers)}

    def _place(self, number: int | None) -> int | None:
        return None if number is None else self._where.get(number)

    def _unit(self, place: int, rows: slice, columns: slice) -> Floats:
        return np.asarray(self.scaling.to_unit(self.images[place][:, rows, columns]))
