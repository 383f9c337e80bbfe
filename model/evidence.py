"""What the report of a denoised array is made from, gathered tile by tile; memory is bounded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model import report
from model.estimate import NoiseCurve
from model.normalise import Kind, Normalisation, Scalings
from model.report import Report

REPORT_PIXELS = 1 << 20  # sampled for the report, of all kinds of planes together
WINDOW = 320  # side of the largest tile that is sampled whole
PATCH, PATCHES = 64, 5  # of a larger one, as many pixels in PATCHES × PATCHES patches spread over it
CURVE_PIXELS = 1 << 18  # a tile of so many gives the noise curve every second row and column
CLIPPED_SHARE = 1e-4  # fewer pixels than this at an end of the range do not bend the noise curve
MOSTLY_KNOWN = 0.02  # share of a patch's pixels that may have been left as they are
PILED_SHARE, PILED = 1e-3, 10  # 16-bit values end in a pile if the largest has this share, and so many times its equal
Floats = NDArray[np.float32]


class Evidence:
    """Of every kind of plane by itself: channels differ in brightness and noise."""

    def __init__(self, dtype: np.dtype[Any], top: int | None = None, strength: float = 1.0) -> None:
        """`top`: the largest value that the file can hold, if less than `dtype`'s."""
        self._dtype = dtype
        self._top = top
        self._strength = strength
        self._kinds: dict[Kind, _OfKind] = {}
        self._warnings: tuple[str, ...] = ()
        self._every_value = 1

    def begin(self, scalings: Scalings, tiles: int, values: int) -> None:
        """Before the first tile of `tiles`, and of `values` pixels times channels."""
        share = len(scalings.by_kind)
        every = max(1, tiles * WINDOW**2 // REPORT_PIXELS)
        self._kinds = {kind: _OfKind(scaling, every) for kind, scaling in sorted(scalings.by_kind.items())}
        self._warnings = scalings.warnings
        self._every_value = max(1, values // share // REPORT_PIXELS) | 1

    def add(
        self, kind: Kind, noisy: Floats, mean: Floats, variance: Floats, beyond: NDArray[np.bool_] | None = None
    ) -> None:
        """A tile: y, μ and the diagonal of Σ_x, (c, h, w) normalised; `beyond`: pixels that were left as they are."""
        self._kinds[kind].add(noisy, mean, variance, beyond)

    def add_plane(self, plane: NDArray[Any], kind: Kind) -> None:
        """Look at the ends of an unsigned type's range, in a sample of a plane (H, W, c); other types have no ends."""
        if self._dtype.kind == "u" and self._dtype.itemsize <= 2:
            self._kinds[kind].count(plane.reshape(-1)[:: self._every_value])

    def report(self) -> Report:
        """One report of all kinds; see `report.combined`."""
        full = int(np.iinfo(self._dtype).max) if self._dtype.kind == "u" else 0
        top = full if self._top is None else self._top
        return report.combined([of.report(top, self._strength) for of in self._kinds.values()], self._warnings)


@dataclass
class _OfKind:
    """The evidence on one kind of plane."""

    scaling: Normalisation
    every: int
    curve: NoiseCurve = field(default_factory=NoiseCurve)
    samples: list[tuple[Floats, Floats]] = field(default_factory=list)
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    tiles: int = 0
    pixels: int = 0
    left: int = 0
    posterior: float = 0.0

    def add(self, noisy: Floats, mean: Floats, variance: Floats, beyond: NDArray[np.bool_] | None) -> None:
        self.pixels += variance.size
        self.posterior += float(variance.sum(dtype=np.float64))
        if beyond is not None:
            self.left += int(np.count_nonzero(beyond))
            mean = np.where(beyond, noisy, mean)
        self.curve.add(noisy, mean, variance, 1 if noisy.size < CURVE_PIXELS else 2, beyond)
        if self.tiles % self.every == 0:
            places = _patches(*noisy.shape[1:]) if beyond is None else _known_patches(beyond)
            self.samples += [(noisy[place].copy(), mean[place].copy()) for place in places]
        self.tiles += 1

    def count(self, values: NDArray[Any]) -> None:
        found = np.bincount(values, minlength=len(self.counts))
        found[: len(self.counts)] += self.counts
        self.counts = found

    def report(self, top: int, strength: float) -> Report:
        at_low, at_high, high = self._clipped(top)
        low = -np.inf
        if at_low > CLIPPED_SHARE:
            low = -self.scaling.offset / self.scaling.scale
        return report.measure(
            self.samples,
            self.curve.fit((low, high)),
            posterior_variance=self.posterior / max(1, self.pixels),
            clipped_share=at_low + at_high,
            left_share=self.left / max(1, self.pixels),
            normalisation=self.scaling,
            strength=strength,
        )

    def _clipped(self, top: int) -> tuple[float, float, float]:
        """Shares of the pixels at either end of the range, and the normalised upper end, infinite if few are there."""
        if not len(self.counts):
            return 0.0, 0.0, np.inf
        total, last = self.counts.sum(), len(self.counts) - 1
        at_last = self.counts[last] / total
        before = self.counts[np.flatnonzero(self.counts)[-9:-1]].max(initial=0) / total
        piled = last > np.iinfo(np.uint8).max and at_last > max(PILED_SHARE, PILED * before)
        if last < top and not piled:
            at_last = 0.0  # a sensor may end below its type (12 bits in 16), and then its values pile up there
        end = (last - self.scaling.offset) / self.scaling.scale if at_last > CLIPPED_SHARE else np.inf
        return float(self.counts[0] / total), float(at_last), float(end)


Place = tuple[slice, slice, slice]


def _patches(height: int, width: int) -> list[Place]:
    """The whole of a small tile, and patches spread over a large one."""
    return [_place(0, 0, height, width)] if height * width <= WINDOW**2 else _spread(height, width, PATCH)


def _known_patches(beyond: NDArray[np.bool_]) -> list[Place]:
    """Patches of a tile with hardly a pixel that was left as it is; the whole tile if there is none."""
    height, width = beyond.shape[1:]
    patches = [place for place in _spread(height, width, PATCH // 2) if beyond[place].mean() < MOSTLY_KNOWN]
    return patches or [_place(0, 0, height, width)]


def _spread(height: int, width: int, side: int) -> list[Place]:
    rows, columns = (
        np.unique(np.linspace(0, max(0, length - side), min(PATCHES, -(-length // side))).astype(int))
        for length in (height, width)
    )
    return [_place(int(r), int(c), side, side) for r in rows for c in columns]


def _place(top: int, left: int, height: int, width: int) -> Place:
    return slice(None), slice(top, top + height), slice(left, left + width)
