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
from model.training.sampler import Pairs, turned

ALONE = 0.1  # share of the training crops that are shown without neighbours, as a single image will be
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


@dataclass(frozen=True)
class FrameCrops:
    """The sampler of frames: random crops with their neighbours and, where there are motions, targets beside them.

    A network of one frame learns from those that have a target; one of several frames also sees some alone.
    """

    frames: Frames
    crop: int

    def draw(self, count: int, rng: np.random.Generator) -> Pairs:
        """See `Sampler`."""
        chosen = self._places
        places = [chosen[i] for i in rng.integers(len(chosen), size=count)]
        drawn = [self._one(place, rng) for place in places]
        noisy = np.stack([one for one, _ in drawn])
        targets = None if self.frames.motions is None else np.stack([other for _, other in drawn])
        return Pairs(noisy, None, places, targets)

    @cached_property
    def _places(self) -> list[int]:
        return list(range(len(self.frames.images))) if self.frames.motions is None else self.frames.targeted()

    def _one(self, place: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        frames = self.frames
        channels, height, width = frames.images[place].shape
        tall, wide = min(self.crop, height), min(self.crop, width)
        top, left = rng.integers(height - tall + 1), rng.integers(width - wide + 1)
        at = place, slice(int(top), int(top) + tall), slice(int(left), int(left) + wide)
        seen = frames.window(*at)
        if frames.count > 1 and rng.random() < ALONE:
            seen[channels:] = ABSENT
        parts = [seen] if frames.motions is None else [seen, frames.targets(*at)]
        short = [(0, 0), (0, self.crop - tall), (0, self.crop - wide)]
        whole = turned(np.pad(np.concatenate(parts), short, mode="symmetric"), rng)
        return whole[: len(seen)], whole[len(seen) :]
