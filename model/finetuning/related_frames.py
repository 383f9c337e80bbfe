"""What the frames of a set are to each other, and which way a fine-tune takes with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from model.arrays.normalise import Normalisation
from model.arrays.pixels import Pixels
from model.errors import InvalidOption
from model.frames.series import Motions, Series
from model.frames.windows import Frames
from model.inference.denoiser import Denoiser

Option = Literal["auto", "none", "related", "3", "5"]
OPTIONS = ("auto", "none", "related", "3", "5")
Floats = NDArray[np.float32]

PROBED_SERIES, PROBED = 8, 6  # series looked at, and places in each
ALIKE = 0.35  # likeness from which on frames show one scene. Fields of one sample: up to 0.26; a time lapse at PG3: 0.7
STILL = 0.1  # pixels a frame
WHITE = 0.1  # correlation of neighbouring pixels' noise; blurred by half a pixel it is 0.37
FIXED = 0.05  # share of the noise that is the same in every frame, from which on it is told
AVERAGED = 32  # frames of a series whose means tell what is the same in all of them
TELLING = 10  # frames from which on their means tell a pattern from fine detail of a scene that stands still


@dataclass(frozen=True)
class Found:
    """What was found out about the frames of a set.

    Attributes:
        frames, series: how many belong to series, and to how many.
        likeness: of neighbouring frames, the median; 1 are equal.
        drift: pixels a frame.
        changed: share of the pixels whose scene is another one in the next frame.
        correlation: of the noise of neighbouring pixels, (down, across).
        fixed: share of the noise's variance that is the same in every frame.
        travelled: pixels by which the scene moves in the longest series.
        longest: frames of it.
    """

    frames: int
    series: int
    likeness: float
    drift: float
    changed: float
    correlation: tuple[float, float]
    fixed: float
    travelled: float
    longest: int

    @property
    def white(self) -> bool:
        return max(abs(value) for value in self.correlation) < WHITE

    def words(self) -> str:
        """All of it in a part of a sentence."""
        of = "one series" if self.series == 1 else f"{self.series} series"
        moves = (
            "the scene stands still" if self.drift < STILL else f"the scene moves by {self.drift:.1f} pixels a frame"
        )
        changes = f" and changes in {100 * self.changed:.1g} % of the pixels" if self.changed >= 0.001 else ""
        noise = "the noise of neighbouring pixels is independent" if self.white else (
            f"neighbouring pixels share their noise (correlation {max(self.correlation, key=abs):.2f})")  # fmt: skip
        return f"{self.frames} frames of {of}: {moves}{changes}, {noise}{self._fixed_words()}"

    def _fixed_words(self) -> str:
        if self.fixed < FIXED:
            return ""
        told = self.travelled >= 2 or self.longest >= TELLING
        what = "a fixed pattern" if told else "a fixed pattern, or fine detail of the scene,"
        return f", and {what} makes {100 * self.fixed:.0f} % of the noise, which frames cannot remove"


@dataclass(frozen=True)
class Way:
    """How a fine-tune goes about frames.

    Attributes:
        seen: pages that the network sees at once.
        pairs: whether it learns from other frames as targets; else from the page alone, split in two.
        groups: which images stay on one side of the split, as numbers.
        found: None where there are no frames that belong together.
        sentence: what was found and which way was taken.
    """

    seen: int
    pairs: bool
    groups: Sequence[int] | None
    series: Series
    motions: Motions | None
    found: Found | None
    sentence: str

    @property
    def doubt(self) -> str | None:
        """Why a gain may be none, whatever the scores; None if frames give no reason."""
        if self.found is None or self.found.fixed < FIXED or not (self.pairs or self.seen > 1):
            return None
        return "The frames share a fixed pattern, which the held-out score takes for the scene"

    def of(self, images: Sequence[Pixels], numbers: Sequence[int], scaling: Normalisation) -> Frames | None:
        """A part of the set with its frames; None: each image is by itself."""
        if not self.pairs and self.seen == 1:
            return None
        return Frames(images, numbers, self.series, scaling, self.seen, self.motions if self.pairs else None)

    def to_dict(self) -> dict[str, Any]:
        """For the card and the report."""
        found = self.found
        numbers: dict[str, Any] = {} if found is None else {
            "series": found.series, "related": found.frames, "likeness": round(found.likeness, 2),
            "drift": round(found.drift, 2), "changed": round(found.changed, 4), "fixed": round(found.fixed, 3),
            "correlation": [round(value, 2) for value in found.correlation],
        }  # fmt: skip
        return {"seen": self.seen, "pairs": self.pairs, "sentence": self.sentence} | numbers


def choose(
    option: str,
    may_pair: bool,
    images: Sequence[Pixels],
    series: Sequence[Sequence[int]] | None,
    groups: Sequence[int] | None,
    scaling: Normalisation,
    noise_line: Callable[[int], NDArray[np.float32]],
    base: Denoiser,
    after_read: Callable[[], None] = lambda: None,
) -> Way:
    """Look at a set's frames and choose.

    Args:
        option: `none` (each image by itself), `related` (frames belong together, whatever they look like), `auto` (if
            they look like it), or how many pages of a stack the network is to see.
        may_pair: whether frames may be targets of each other; False where another method was asked for.
        series: what may be frames of one series, in order: numbers of images of one size.
        groups: which file each image is from.

    Raises:
        InvalidOption: no such option, fewer frames than the base sees, or frames are asked for and there are none.
    """
    if option not in OPTIONS:
        raise InvalidOption(f"frames must be one of {', '.join(OPTIONS)}, not {option!r}")
    seen = max(int(option) if option.isdecimal() else 1, base.frames)
    if option.isdecimal() and seen > int(option):
        raise InvalidOption(
            f"frames={option} is less than the {seen} that {base.name} sees: use {seen} or another base"
        )
    possible = [those for those in series or () if len(those) > 1 and _one_size(images, those)]
    if option == "none" or not possible:
        if option not in ("auto", "none"):
            raise InvalidOption(
                f"frames={option} needs frames that belong together: stacks of several pages, or files of one size; "
                "send those, or leave `frames` out"
            )
        return _alone(seen, groups, "" if option == "none" else "No frames belong together")
    motions = Motions(images, Series(possible), scaling, noise_line)
    alike = [_likeness(motions, those) for those in possible[:: max(1, len(possible) // PROBED_SERIES)]]
    after_read()
    if option == "auto" and float(np.median(alike)) < ALIKE:
        return _alone(seen, groups, "Frames follow each other, but do not show one scene")
    found = _found(images, possible, motions, scaling, base, float(np.median(alike)))
    after_read()
    # A pattern that all frames share is learned to be kept, so where one frame alone will do, it does.
    pairs = may_pair and (not found.white or (seen == 1 and found.fixed < FIXED))
    if seen > 1 and max(map(len, possible)) < 2 * (seen // 2) + 2:
        pairs = False  # no frame lies beyond what the network sees
    joined = _joined(groups if groups is not None else range(len(images)), possible)
    if 2 * found.frames < len(images) and option == "auto":
        return Way(seen, False, joined, motions.series, None, found, _sentence(found, 1, False))
    return Way(seen, pairs, joined, motions.series, motions, found, _sentence(found, seen, pairs))


def _alone(seen: int, groups: Sequence[int] | None, why: str) -> Way:
    sentence = f"{why}; learned from: single images." if why else "Learned from single images, as asked."
    return Way(seen, False, groups, Series(()), None, None, sentence)


def _sentence(found: Found, seen: int, pairs: bool) -> str:
    ways = {
        (True, True): "each frame with its neighbours, and a frame beyond them as the target",
        (True, False): "each frame, split in two, with its neighbours",
        (False, True): "pairs of frames, moved onto each other",
        (False, False): "single images",
    }
    return f"{found.words()}; learned from: {ways[seen > 1, pairs]}."


def _one_size(images: Sequence[Pixels], those: Sequence[int]) -> bool:
    return len({images[i].shape for i in those}) == 1


def _joined(groups: Sequence[int], series: Sequence[Sequence[int]]) -> list[int]:
    """Groups such that a series is in one: files that share a series become one group."""
    parent = {group: group for group in groups}

    def root(group: int) -> int:
        while parent[group] != group:
            group = parent[group]
        return group

    for those in series:
        for first, second in pairwise(those):
            a, b = root(groups[first]), root(groups[second])
            parent[max(a, b)] = min(a, b)
    return [root(group) for group in groups]


def _places(those: Sequence[int], apart: int) -> list[int]:
    """Some places in a series that have another one `apart` behind them."""
    return [int(at) for at in np.unique(np.linspace(0, len(those) - 1 - apart, PROBED).astype(int))]


def _likeness(motions: Motions, those: Sequence[int]) -> float:
    return float(np.median([motions.direct(those[i], those[i + 1]).likeness for i in _places(those, 1)]))


def _found(
    images: Sequence[Pixels], possible: Sequence[Sequence[int]], motions: Motions, scaling: Normalisation,
    base: Denoiser, likeness: float,
) -> Found:  # fmt: skip
    probed = possible[:: max(1, len(possible) // PROBED_SERIES)]
    firsts = [those[i] for those in probed for i in _places(those, 1)]
    moves = [motions.between(first, 1)[0] for first in firsts]
    changes = [motions.changed(first, 1) for first in firsts]
    drift = float(np.median([shift.length for shift in moves]))
    rough = [motions.noise_correlation(first) for first in firsts]
    fixed = float(np.median([_fixed(motions, those, base) for those in probed]))
    longest = max(map(len, probed))
    down, across = (float(np.median([one[i] for one in rough])) for i in (0, 1))
    return Found(
        sum(map(len, possible)), len(possible), likeness, drift, float(np.mean(changes)), (down, across), fixed,
        drift * (longest - 1), longest,
    )  # fmt: skip


def _fixed(motions: Motions, those: Sequence[int], base: Denoiser) -> float:
    """The share of a series' noise that is the same in every frame.

    Two means of alternate frames are denoised. Hardly any of the noise of single frames is left in them, so the base
    takes little for noise; fine detail of a scene that stands still it keeps, and a pattern without shape it does not.
    What it takes out of both is the pattern, of which the rest of their noise is no part.
    """
    chosen = [those[int(place)] for place in np.unique(np.linspace(0, len(those) - 1, AVERAGED).astype(int))]
    halves = [np.mean([motions.window(one) for one in chosen[start::2]], 0, np.float32) for start in (0, 1)]
    a, b = (_residual(np.asarray(half), base) for half in halves)
    shared = max(0.0, float((a * b).mean(dtype=np.float64)))
    whole = shared + float(np.median([motions.noise_variance(one) for one in chosen]))
    return shared / whole if whole > 0 else 0.0


def _residual(window: Floats, base: Denoiser) -> Floats:
    stride = base.network.stride
    height, width = (side // stride * stride for side in window.shape[1:])
    cut = np.ascontiguousarray(window[:, :height, :width])
    return np.asarray(cut - base.infer(cut)[0])
