"""Random crops of frames with their neighbours, and of the same scene in other frames as targets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from model.frames.windows import Frames
from model.networks.unets import ABSENT
from model.training.sampler import Pairs, turned

ALONE = 0.1  # share of the training crops that are shown without neighbours, as a single image will be
Floats = NDArray[np.float32]


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
