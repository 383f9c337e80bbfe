"""The one intensity that all channels of an image follow: gray stored as colour, sepia, a toned print, a colour map.

Noise that came before the colours is the same in every channel. A model of photographs, to which three channels are
three measurements, takes it for structure; a gray model that is given the one intensity does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLE = 1 << 14  # pixels of a stack that are looked at
PAGES = 32  # of a stack that are looked at
WINDOW = 512  # side of the part of a page whose noise is measured
KNOTS = 256  # of a curve
ROUNDING = 0.45  # of an integer's step: standard deviation of two roundings, of the intensity and of the channel
OWN_NOISE = 0.3  # of a channel's noise. Sepia as JPEG 0.1 … 0.3; noisy photographs and three measurements 0.5 … 0.8
FOLLOWING, REACH = 0.99, 3.0  # so many pixels lie within so many standard deviations; others may be marks in colour
NORMAL_MEDIAN = 0.6745  # of |x|, x normal with standard deviation 1
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Intensity:
    """t = Σ weights·channels, or one of them (all weights 0 but a 1), and how every channel follows it.

    Attributes:
        weights: (C,).
        slopes: (C,), what each channel changes by where t changes by 1; of a curve, those of a straight line.
        knots, curve: (K,) ascending t, and (K, C) the channels there; None where the slopes say all.
    """

    weights: Floats
    slopes: Floats
    knots: Floats | None = None
    curve: Floats | None = None

    def of(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """(..., C) in file units to the intensity (..., 1); of the input's type where it is one of the channels."""
        chosen = np.flatnonzero(self.weights)
        if len(chosen) == 1:
            return np.asarray(pixels[..., chosen])
        kind = np.float64 if pixels.dtype.itemsize > 2 else np.float32
        return np.asarray((pixels.astype(kind) @ self.weights.astype(kind))[..., None])

    def values(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """As `of`, rounded to the input's type, for normalisation."""
        found = self.of(pixels)
        if found.dtype == pixels.dtype or pixels.dtype.kind == "f":
            return found
        limits = np.iinfo(pixels.dtype)
        return np.asarray(np.clip(np.rint(found), limits.min, limits.max), pixels.dtype)

    @property
    def strongest(self) -> slice:
        """The channel that changes most with it."""
        channel = int(np.abs(self.slopes).argmax())
        return slice(channel, channel + 1)

    def spread(self, before: NDArray[Any], change: Floats) -> Floats:
        """What every channel changes by (..., C) where the intensity `before` (..., 1) changes by `change`."""
        if self.knots is None or self.curve is None:
            return change * self.slopes
        after = before + change
        ends = zip(self._on_curve(after), self._on_curve(before), strict=True)
        return np.concatenate([high - low for high, low in ends], -1, dtype=np.float32)

    def _on_curve(self, values: NDArray[Any]) -> Iterator[NDArray[Any]]:
        assert self.knots is not None and self.curve is not None
        for channel in self.curve.T:
            yield np.interp(values, self.knots, channel)


def find(stack: NDArray[Any]) -> Intensity | None:
    """The intensity that all channels of all pages follow, but for rounding and compression; None if there is none.

    Channels with noise of their own (three measurements of a gray scene, say) have none.

    Args:
        stack: (N, H, W, C).
    """
    channels = stack.shape[-1]
    if channels < 2:
        return None
    pixels = _sample(stack)
    if (pixels == pixels[:, :1]).all():
        return Intensity(np.eye(channels, dtype=np.float32)[0], np.ones(channels, np.float32))
    pixels = pixels.astype(np.float64)
    if not np.isfinite(pixels).all():
        return None
    step = 1.0 if stack.dtype.kind in "ui" else 0.0
    middle = _middle(stack[len(stack) // 2])
    allowed = np.maximum(ROUNDING * step, OWN_NOISE * _noise_std(middle))
    spread = pixels.std(0)
    if not spread.any():
        return None
    along_all = _along(np.linalg.eigh(np.cov(pixels.T))[1][:, -1], pixels, allowed)
    if along_all is None:
        return None
    # A channel that the others follow is better: where one of them is cut off, the sum of all has a kink.
    alone = (_along(np.eye(channels)[channel], pixels, allowed) for channel in np.argsort(-spread))
    return next((found for found in alone if found), along_all)


def _along(axis: NDArray[np.float64], pixels: NDArray[np.float64], allowed: NDArray[np.float64]) -> Intensity | None:
    """The intensity along an axis of colours, if all channels follow it."""
    t = pixels @ axis
    centred = t - t.mean()
    slopes = centred @ (pixels - pixels.mean(0)) / (centred @ centred)
    if np.count_nonzero(axis) > 1:  # t in the units of the channel that changes most, as an image of the file's reads
        largest = np.abs(slopes).max() * (np.sign(slopes.sum()) or 1.0)
        t, axis, slopes = t * largest, axis * largest, slopes / largest
    weights, straight = axis.astype(np.float32), slopes.astype(np.float32)
    if _follow(pixels - pixels.mean(0) - (t - t.mean())[:, None] * slopes, allowed):
        return Intensity(weights, straight)
    knots, curve = _curve(t, pixels)
    on_curve = np.stack([np.interp(t, knots, channel) for channel in curve.T], 1)
    if not _follow(pixels - on_curve, allowed):
        return None
    return Intensity(weights, straight, knots.astype(np.float32), curve.astype(np.float32))


def _curve(t: NDArray[np.float64], pixels: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means of t (K,) and of the channels (K, C) in equal steps of t."""
    place = ((t - t.min()) * ((KNOTS - 1) / np.ptp(t))).round().astype(np.int64)
    counts = np.bincount(place, minlength=KNOTS)
    used = counts > 0
    sums = [np.bincount(place, weights=of, minlength=KNOTS)[used] for of in (t, *pixels.T)]
    knots, *curve = (of / counts[used] for of in sums)
    return knots, np.stack(curve, 1)


def _follow(rest: NDArray[np.float64], allowed: NDArray[np.float64]) -> bool:
    return bool((np.quantile(np.abs(rest), FOLLOWING, axis=0) <= REACH * allowed).all())


def _sample(stack: NDArray[Any]) -> NDArray[Any]:
    """About `SAMPLE` pixels (n, C), spread over pages, rows and columns."""
    pages, height, width = stack.shape[:3]
    some = np.unique(np.linspace(0, pages - 1, min(pages, PAGES)).astype(int))
    side = max(1, int((len(some) * height * width / SAMPLE) ** 0.5)) | 1
    grid = (slice(min(side // 2, height - 1), None, side), slice(min(side // 2, width - 1), None, side))
    return np.concatenate([stack[page, *grid].reshape(-1, stack.shape[-1]) for page in some])


def _noise_std(page: Floats) -> NDArray[np.float64]:
    """(C,) by the median of the diagonal differences of 2 × 2 pixels, which texture in places does not raise."""
    height, width = (length // 2 * 2 for length in page.shape[:2])
    if not height * width:
        return np.zeros(page.shape[-1])
    down = page[:height:2] - page[1:height:2]
    steps = np.abs(down[:, :width:2] - down[:, 1:width:2])
    return np.asarray(np.median(steps.reshape(-1, page.shape[-1]), 0) / (2 * NORMAL_MEDIAN), np.float64)


def _middle(page: NDArray[Any]) -> Floats:
    top, left = (max(0, (length - WINDOW) // 2) for length in page.shape[:2])
    return page[top : top + WINDOW, left : left + WINDOW].astype(np.float32)
