"""What the report of a denoised array is made from, gathered tile by tile; memory is bounded."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.arrays.normalise import sample
from model.noise import noise_level
from model.noise.noise_curve import NoiseCurve
from model.planes import PlaneKind, Scalings, View
from model.report import report
from model.report.held import Held
from model.report.layout import SAME, Layout
from model.report.report import Report

REPORT_PIXELS = 1 << 20  # sampled for the report, of all kinds of planes together
WINDOW = 320  # side of the largest tile that is sampled whole
PATCH, PATCHES = 64, 5  # of a larger one, as many pixels in PATCHES × PATCHES patches spread over it
CURVE_PIXELS = 1 << 18  # a tile of so many gives the noise curve every second row and column
CLIPPED_SHARE = 1e-4  # fewer pixels than this at an end of the range do not bend the noise curve
MOSTLY_KNOWN = 0.02  # share of a patch's pixels that may have been left as they are
PILED_SHARE, PILED = 1e-3, 10  # 16-bit values end in a pile if the largest has this share, and is so many times
FEW_PHOTONS = 10.0  # a pixel; of more, hardly one has 0
PHOTONS = (0.7, 1.3)  # variance over mean of counted ones; it is 1
LEVELS = 9  # as frequent as each of the levels before it
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


class ReportBuilder:
    """Of every kind of plane by itself: channels differ in brightness and noise."""

    def __init__(
        self,
        dtype: np.dtype[Any],
        top: int | None = None,
        strength: float = 1.0,
        correlated: bool = False,
        layout: Layout = SAME,
    ) -> None:
        """`top`: the largest value that the file can hold, if less than `dtype`'s; else as `report.measure`."""
        self._dtype = dtype
        self._top = top
        self._strength = strength
        self._correlated = correlated
        self._layout = layout
        self._kinds: dict[PlaneKind, _OfKind] = {}
        self._warnings: tuple[str, ...] = ()
        self._values = 1

    def begin(self, scalings: Scalings, tiles: int, pages: int) -> None:
        """Before the first of so many tiles on so many pages."""
        every = max(1, tiles * WINDOW**2 // REPORT_PIXELS)
        largest = min(WINDOW**2, REPORT_PIXELS // len(scalings.by_kind))  # of hundreds of channels, each shows little
        self._kinds = {kind: _OfKind(scalings.view(kind), every, largest) for kind in sorted(scalings.by_kind)}
        self._warnings = scalings.warnings
        self._values = max(1, REPORT_PIXELS // pages)

    def add(
        self,
        kind: PlaneKind,
        noisy: Floats,
        mean: Floats,
        variance: Floats,
        beyond: Mask | None = None,
        missing: Mask | None = None,
        kept: Floats | None = None,
        corner: tuple[int, int] = (0, 0),
    ) -> None:
        """A tile: y, μ and the diagonal of Σ_x, (c, h, w) normalised.

        Args:
            kept: the share of the change that was made; None: all of it.
            corner: of the tile in its page.
            beyond: pixels that were left as they are.
            missing: those that measured nothing, of which nothing is told.
        """
        if kept is not None:
            self._kinds[kind].held.add(kept, corner, missing)
            mean = noisy + kept * (mean - noisy)
        if missing is None or not missing.any():
            self._kinds[kind].add(noisy, mean, variance, beyond)
        elif not missing.all():
            known = None if beyond is None else beyond & ~missing
            self._kinds[kind].add(noisy, mean, np.where(missing, np.float32(0), variance), known, missing)

    def add_ends(self, page: NDArray[Any], channels: slice, kind: PlaneKind) -> None:
        """Look at the ends of an unsigned type's range in a sample of a page (H, W, C); other types have no ends."""
        if self._dtype.kind == "u" and self._dtype.itemsize <= 2:
            self._kinds[kind].ends.count(sample(page[None], [0], channels, self._values))

    def report(self) -> Report:
        """One report of all kinds; see `report.combined`."""
        full = int(np.iinfo(self._dtype).max) if self._dtype.kind == "u" else 0
        top = full if self._top is None else self._top
        found = [of.report(top, self._strength, self._correlated, self._layout) for of in self._kinds.values()]
        return report.combined(found, self._warnings, [self._layout.channel(index) for index in range(len(found))])


@dataclass
class _Ends:
    """How many values lie at either end of an unsigned type's range, a page at a time."""

    total: int = 0
    at_zero: int = 0
    highest: dict[int, int] = field(default_factory=dict)

    def count(self, values: NDArray[Any]) -> None:
        counts = np.bincount(values)
        self.total += values.size
        self.at_zero += int(counts[0])
        for level in np.flatnonzero(counts)[-LEVELS:].tolist():
            self.highest[level] = self.highest.get(level, 0) + int(counts[level])
        self.highest = dict(sorted(self.highest.items())[-LEVELS:])  # a level that fell behind never comes back

    def clipped(self, top: int) -> tuple[float, float, int]:
        """Shares of the values at 0 and at the upper end, and that end.

        A sensor may end below its type (12 bits in 16), and then its values pile up there.
        """
        if not self.total:
            return 0.0, 0.0, top
        *before, (last, count) = self.highest.items()
        share, next_to_it = count / self.total, max((n for _, n in before), default=0) / self.total
        piled = last > np.iinfo(np.uint8).max and share > max(PILED_SHARE, PILED * next_to_it)
        return self.at_zero / self.total, share if last >= top or piled else 0.0, last


@dataclass
class _OfKind:
    """The evidence on one kind of plane."""

    view: View
    every: int
    largest: int
    held: Held = field(default_factory=Held)
    curve: NoiseCurve = field(default_factory=NoiseCurve)
    samples: list[tuple[Floats, Floats]] = field(default_factory=list)
    ends: _Ends = field(default_factory=_Ends)
    tiles: int = 0
    pixels: int = 0
    left: int = 0
    posterior: float = 0.0

    def add(
        self, noisy: Floats, mean: Floats, variance: Floats, beyond: Mask | None, missing: Mask | None = None
    ) -> None:
        self.pixels += variance.size - (0 if missing is None else int(np.count_nonzero(missing)))
        self.posterior += float(variance.sum(dtype=np.float64))
        if beyond is not None:
            self.left += int(np.count_nonzero(beyond))
        if missing is not None:
            beyond = missing if beyond is None else missing | beyond
        if beyond is not None:
            mean = np.where(beyond, noisy, mean)
        self.curve.add(noisy, mean, variance, 1 if noisy.size < CURVE_PIXELS else 2, beyond)
        if self.tiles % self.every == 0:
            _, height, width = noisy.shape
            places = _patches(height, width, self.largest, beyond)
            self.samples += [(noisy[place].copy(), mean[place].copy()) for place in places]
        self.tiles += 1

    def report(self, top: int, strength: float, correlated: bool, layout: Layout) -> Report:
        at_low, at_high, last = self.ends.clipped(top)
        scaling = self.view.first
        low = (0 - scaling.offset) / scaling.scale if at_low > CLIPPED_SHARE else -np.inf
        high = (last - scaling.offset) / scaling.scale if at_high > CLIPPED_SHARE else np.inf
        fit = self.curve.fit((low, high))
        if self.view.darker:  # one stretch shows the curve of what is bright alone
            fit = noise_level.as_fit(self.view.noise, scaling.offset, scaling.scale, fit)
        nothing = np.zeros((1, 1, 1), np.float32)
        found = report.measure(
            self.samples or [(nothing, nothing)],
            fit,
            posterior_variance=self.posterior / max(1, self.pixels),
            clipped_share=at_low + at_high,
            left_share=self.left / max(1, self.pixels),
            normalisation=scaling,
            strength=strength,
            bracketed=bool(self.view.darker),
            held=self.held.is_said(self.pixels),
            correlated=correlated,
            photons=self._are_photons(),
        )
        return replace(found, warnings=[*self.held.warnings(self.pixels, layout), *found.warnings])

    def _are_photons(self) -> bool:
        """Whether values are few counted photons: they vary as much as they are, in the file's own numbers."""
        if not self.samples:
            return False
        scale, offset = self.view.first.scale, self.view.first.offset
        mean = float(np.concatenate([mean.ravel() for _, mean in self.samples]).mean()) * scale + offset
        variance = float(np.concatenate([(noisy - mean).ravel() for noisy, mean in self.samples]).var()) * scale**2
        return mean < FEW_PHOTONS and PHOTONS[0] < variance / max(mean, 1e-30) < PHOTONS[1]


Place = tuple[slice, slice, slice]


def _patches(height: int, width: int, largest: int, beyond: Mask | None) -> list[Place]:
    """The whole of a tile of at most `largest` pixels, else about so many of it in patches spread over it.

    With pixels that were left as they are, patches with hardly one of these, if there are any, else that with fewest.
    """
    if beyond is None and height * width <= largest:
        return [_place(0, 0, height, width)]
    side = min(PATCH if beyond is None else PATCH // 2, max(1, math.isqrt(largest) // PATCHES))
    patches = _spread(height, width, side)
    if beyond is None:
        return patches
    shares = [float(beyond[place].mean()) for place in patches]
    chosen = [place for place, share in zip(patches, shares, strict=True) if share < MOSTLY_KNOWN]
    return chosen or [patches[int(np.argmin(shares))]]


def _spread(height: int, width: int, side: int) -> list[Place]:
    rows, columns = (
        np.unique(np.linspace(0, max(0, length - side), min(PATCHES, -(-length // side))).astype(int))
        for length in (height, width)
    )
    return [_place(int(r), int(c), side, side) for r in rows for c in columns]


def _place(top: int, left: int, height: int, width: int) -> Place:
    return slice(None), slice(top, top + height), slice(left, left + width)
