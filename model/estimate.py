"""Noise of an image from the denoiser's own posterior.

For the posterior mean μ and covariance Σ_x of Blind2Sound, E[(y − x)² | y] = (y − μ)² + Σ_x: the residual's square
alone falls short of the noise by just what the denoiser could not know. Averaged over pixels of equal μ this is a point
of the noise curve, Var[y|x] = α·x + σ², which a weighted line fits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 128
LOW, HIGH = -0.25, 1.5  # means outside are counted in the end bins
SMALLEST_COUNT = 32
SMALLEST_POINTS = 4
# Pixels whose posterior variance is at most this share of the usual one at their level are counted: where the denoiser
# is sure, an error of its Σ_x weighs least. On BSD68 it took the median σ̂ at PG1 from 0.013 to 0.006 (true: 0.0002).
SURE = 0.7


@dataclass(frozen=True)
class NoiseFit:
    """α and σ in normalised units, and the curve they were fitted to (points with enough pixels, ascending).

    Attributes:
        black: the signal at which the noise ends, above 0 when the file's values stand on a pedestal: a camera's
            offset, or a rescaling to the darkest noisy pixel. The fitted line then meets 0 there, and σ is 0.
    """

    alpha: float
    sigma: float
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    count: NDArray[np.float64]
    black: float = 0.0

    def variance_at(self, mean: NDArray[Any]) -> NDArray[Any]:
        """α·max(x − black, 0) + σ²."""
        return np.asarray(self.alpha * np.maximum(mean - self.black, 0) + self.sigma**2)


@dataclass
class NoiseCurve:
    """Running sums of the noise curve, a tile at a time; memory does not grow with the image.

    Attributes:
        sure: share of the usual posterior variance at its level that a pixel may have to be counted; infinity for all.
    """

    sure: float = SURE
    count: NDArray[np.float64] = field(default_factory=lambda: np.zeros(BINS))
    mean: NDArray[np.float64] = field(default_factory=lambda: np.zeros(BINS))
    variance: NDArray[np.float64] = field(default_factory=lambda: np.zeros(BINS))

    def add(self, noisy: NDArray[np.float32], mean: NDArray[np.float32], posterior: NDArray[np.float32]) -> None:
        """Count pixels in: y, μ and the posterior variance, arrays of one shape in normalised units."""
        flat = mean.ravel()
        index = np.clip(((flat - LOW) * (BINS / (HIGH - LOW))).astype(np.int32), 0, BINS - 1)
        spread = posterior.ravel()
        typical = np.bincount(index, weights=spread, minlength=BINS) / np.maximum(np.bincount(index, minlength=BINS), 1)
        sure = spread <= self.sure * typical[index]
        index, flat = index[sure], flat[sure]
        squares = (noisy.ravel()[sure] - flat) ** 2 + spread[sure]
        self.count += np.bincount(index, minlength=BINS)
        self.mean += np.bincount(index, weights=flat, minlength=BINS)
        self.variance += np.bincount(index, weights=squares, minlength=BINS)

    def merge(self, other: NoiseCurve) -> None:
        """Count in what another curve has counted."""
        self.count += other.count
        self.mean += other.mean
        self.variance += other.variance

    def fit(self, clipped_at: tuple[float, float] = (-np.inf, np.inf)) -> NoiseFit:
        """The line through the curve by iteratively reweighted least squares, α ≥ 0 and σ² ≥ 0 or a black level.

        A point's weight is n / (2·v²), the inverse variance of a mean of n squared Gaussians of variance v.

        Args:
            clipped_at: normalised values at which the file cuts values off. Points within two standard deviations of
                them are left out (if others remain): their variance is that of half a distribution.
        """
        enough = self.count >= min(SMALLEST_COUNT, self.count.max(initial=0))
        enough &= self.count > 0
        count = self.count[enough]
        if not count.size:
            return NoiseFit(0.0, 0.0, count, count, count)
        mean, variance = self.mean[enough] / count, self.variance[enough] / count
        reach = 2 * np.sqrt(variance)
        whole = (mean - reach > clipped_at[0]) & (mean + reach < clipped_at[1])
        if whole.sum() >= SMALLEST_POINTS:
            mean, variance, count = mean[whole], variance[whole], count[whole]
        expected = np.full_like(variance, np.average(variance, weights=count))
        slope = intercept = 0.0
        for _ in range(10):
            weights = count / np.maximum(expected, 1e-12) ** 2
            slope, intercept = _line(np.maximum(mean, 0), variance, weights)
            # Far below the usual variance a point would decide alone: the floor bounds its weight.
            expected = np.maximum(slope * np.maximum(mean, 0) + intercept, 1e-2 * variance.max())
        black = max(-intercept / slope, 0.0) if slope > 0 else 0.0
        return NoiseFit(slope, float(np.sqrt(max(intercept, 0.0))), mean, variance, count, black)


def _line(x: NDArray[np.float64], y: NDArray[np.float64], w: NDArray[np.float64]) -> tuple[float, float]:
    """Weighted least squares y = a·x + b with a ≥ 0. A negative b is kept: values on a pedestal have one."""
    mx, my = np.average(x, weights=w), np.average(y, weights=w)
    spread = np.average((x - mx) ** 2, weights=w)
    slope = np.average((x - mx) * (y - my), weights=w) / spread if spread > 1e-12 else 0.0
    if slope <= 0:
        return 0.0, float(max(my, 0.0))
    return float(slope), float(my - slope * mx)
