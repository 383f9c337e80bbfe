"""Frames that belong together: who is whose neighbour, how the scene moves between them, and what a set makes of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from model.arrays.normalise import Normalisation
from model.arrays.pixels import Pixels
from model.frames import motion
from model.frames.motion import Shift
from model.noise import thinning

WINDOW = 256  # side of the middle of a frame, by which shifts are found
BASELINE = 8  # frames to either side over which a steady drift is measured
JITTER = 4.0  # errors by which a frame's own shift must differ from the drift to be believed
STRUCTURES, SHIFTS = 64, 1 << 15  # of frames and of pairs of them that are kept
Floats = NDArray[np.float32]
K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True)
class Series:
    """Frames of a set in their order, in one or several series.

    Attributes:
        members: of each series the images' numbers in the set, in order.
    """

    members: Sequence[Sequence[int]]
    _places: dict[int, tuple[int, int]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        places = {image: (s, place) for s, those in enumerate(self.members) for place, image in enumerate(those)}
        object.__setattr__(self, "_places", places)

    def at(self, image: int, offset: int) -> int | None:
        """The image so many frames behind another one; None: there is none."""
        if image not in self._places:
            return None
        series, place = self._places[image]
        place += offset
        return self.members[series][place] if 0 <= place < len(self.members[series]) else None

    def neighbours(self, image: int, frames: int) -> list[int | None]:
        """The `frames` - 1 neighbours of an image, nearest first: -1, +1, -2, +2, …; see `mirrored`."""
        if image not in self._places:
            return [None] * (frames - 1)
        series, place = self._places[image]
        those = self.members[series]
        return [None if at is None else those[at] for at in mirrored(place, len(those), frames)]

    def seconds(self, image: int, lag: int) -> list[int]:
        """The images `lag` frames before and behind one, those that there are."""
        return [at for at in (self.at(image, -lag), self.at(image, lag)) if at is not None]


def mirrored(place: int, count: int, frames: int) -> list[int | None]:
    """Places of the neighbours of a frame in a series of `count`, nearest first: -1, +1, -2, +2, …

    Beyond an end of the series the frame on the other side stands in, at the same distance or as near to it as there
    is one. Never the frame itself, whose noise would count twice; None where it is alone.
    """
    found: list[int | None] = []
    for distance in range(1, frames // 2 + 1):
        for side in (-1, 1):
            there = [place + s * d for d in range(distance, 0, -1) for s in (side, -side) if 0 <= place + s * d < count]
            found.append(there[0] if there else None)
    return found


class Motions:
    """How the scene moves and changes between images of a set, found when first asked for.

    Args:
        images: (C, H, W) each.
        noise_line: (C, 4) of an image, as `thinning.variance_at` takes it.
    """

    def __init__(
        self, images: Sequence[Pixels], series: Series, scaling: Normalisation,
        noise_line: Callable[[int], NDArray[np.float32]],
    ) -> None:  # fmt: skip
        self._images, self.series, self._scaling, self._line = images, series, scaling, noise_line
        self._structures: OrderedDict[int, Floats] = OrderedDict()
        self._direct: OrderedDict[tuple[int, int], Shift] = OrderedDict()
        self._spreads: OrderedDict[tuple[int, int], tuple[Shift, float]] = OrderedDict()

    def between(self, first: int, lag: int) -> tuple[Shift, float]:
        """The shift from an image to the one `lag` frames behind it, and the spread of their unchanged difference.

        A drift that is steady is measured over several frames, where the same error is a smaller share of it; a frame
        whose own shift differs by more than chance has its own.
        """
        second = self.series.at(first, lag)
        assert second is not None
        return _kept(self._spreads, (first, second), SHIFTS, lambda: self._found(first, second, lag))

    def direct(self, first: int, second: int) -> Shift:
        """The shift between two images, by themselves."""

        def find() -> Shift:
            return motion.shift_of_structures(self._structure(first), self._structure(second))

        return _kept(self._direct, (first, second), SHIFTS, find)

    def changed(self, first: int, lag: int) -> float:
        """The share of the middle of an image whose scene is another one `lag` frames behind."""
        shift, spread = self.between(first, lag)
        second = self.series.at(first, lag)
        assert second is not None
        a, b = self.window(first), self.window(second)
        away = self.differences(a, motion.moved(b, shift.rows, shift.columns), first)
        return float(motion.changed(away, spread).mean())

    def noise_correlation(self, image: int) -> tuple[float, float]:
        """How much neighbouring pixels, down and across, share of their noise: what differs between frames.

        Where there are three frames, their second difference, of which a steady drift is no part.
        """
        rest, _ = self._noise(image)
        power = float((rest**2).mean()) or 1.0
        down = float((rest[:, 1:] * rest[:, :-1]).mean()) / power
        return down, float((rest[:, :, 1:] * rest[:, :, :-1]).mean()) / power

    def noise_variance(self, image: int) -> float:
        """Mean variance of the noise that is another one in each frame; what moves or changes is counted with it."""
        rest, others = self._noise(image)
        return float((rest**2).mean(dtype=np.float64)) / (1 + 1 / others)

    def _noise(self, image: int) -> tuple[Floats, int]:
        """What differs in an image (C, h, w) from the mean of the frames beside it, and how many those are."""
        beside = (self.series.at(image, -1), self.series.at(image, 1))
        others = [self.window(other) for other in beside if other is not None]
        return self.window(image) - np.mean(others, 0), len(others)

    def differences(self, first: Floats, second: Floats, image: int) -> Floats:
        """Of an image's window (C, h, w) and another frame's, in units of about their noise."""
        line = self._line(image)[..., None, None]
        variance = np.maximum(line[:, 0] * (first + second) / 2 + line[:, 1], line[:, 2])
        return motion.differences(first, second, 2 * np.maximum(variance, thinning.SMALLEST_VARIANCE))

    def _found(self, first: int, second: int, lag: int) -> tuple[Shift, float]:
        own = self.direct(first, second)
        drift = self._drift(first, lag, own)
        apart = max(abs(own.rows - drift.rows), abs(own.columns - drift.columns))
        shift = own if apart > JITTER * own.error else drift
        a, b = (self.window(image) for image in (first, second))
        away = self.differences(a, motion.moved(b, shift.rows, shift.columns), first)
        return shift, motion.spread_of(away)

    def _drift(self, first: int, lag: int, own: Shift) -> Shift:
        """The shift over `lag` frames as a share of that over as many frames about it as can be followed."""
        speed = own.length / abs(lag)
        reach = BASELINE if 2 * BASELINE * speed < motion.LARGEST_SHIFT else int(motion.LARGEST_SHIFT / (2 * speed))
        before, behind = (
            max(n for n in range(reach + 1) if self.series.at(first, side * n) is not None) for side in (-1, 1)
        )
        if before + behind <= abs(lag):
            return own
        start, end = self.series.at(first, -before), self.series.at(first, behind)
        assert start is not None and end is not None
        whole, share = self.direct(start, end), lag / (before + behind)
        if not np.isfinite(whole.error):
            return Shift(0.0, 0.0)
        return Shift(whole.rows * share, whole.columns * share, whole.likeness, whole.error * abs(share))

    def _structure(self, image: int) -> Floats:
        return _kept(self._structures, image, STRUCTURES, lambda: motion.structure(self.window(image).sum(0)))

    def window(self, image: int) -> Floats:
        """The middle of an image (C, h, w), normalised."""
        pixels = self._images[image]
        rows, columns = (slice(max(0, (side - WINDOW) // 2), (side + WINDOW) // 2) for side in pixels.shape[1:])
        return self._scaling.to_unit(pixels[:, rows, columns])


def _kept(cache: OrderedDict[K, V], key: K, most: int, find: Callable[[], V]) -> V:
    """What was found before, or is now; what was used longest ago is forgotten."""
    found = cache.pop(key) if key in cache else find()
    cache[key] = found
    while len(cache) > most:
        cache.popitem(last=False)
    return found
