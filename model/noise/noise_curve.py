"""Noise of an image from the denoiser's own posterior.

For the posterior mean μ and covariance Σ_x of Blind2Sound, E[(y − x)² | y] = (y − μ)² + Σ_x: the residual's square
alone falls short of the noise by just what the denoiser could not know. Averaged over pixels of one signal level this
is a point of the noise curve, Var[y|x] = α·x + σ², which a weighted line fits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

BINS = 128
LOW, HIGH = -0.25, 1.5  # means outside are counted in the end bins
SMALLEST_COUNT = 32
SMALLEST_POINTS = 4
FLAT = 0.5  # share of a level's pixels that are counted: where the image is flattest, so that the denoiser errs least
SLOPES, STEEPEST = 64, 2.0  # classes of steepness, half a factor of two each, below this squared gradient
BOX = 5  # side of the square over which μ is averaged to tell a pixel's level and how flat the image is there


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

    A pixel's level is the average of μ about it, never its own μ: that leans towards its own noise, so pixels of equal
    μ are not of equal signal (at PG3 it took 2 to 7 % off the variance of the darker half and none off the brighter,
    and σ̂ with it). For the same reason the averaged μ tells where the image is flat.

    Attributes:
        flat: share of each level's pixels that are counted, the flattest first; 1 for all.
    """

    flat: float = FLAT
    count: NDArray[np.float64] = field(default_factory=lambda: np.zeros(BINS))
    mean: NDArray[np.float64] = field(default_factory=lambda: np.zeros(BINS))
    variance: NDArray[np.float64] = field(default_factory=lambda: np.zeros(BINS))
    posterior: NDArray[np.float64] = field(default_factory=lambda: np.zeros(BINS))

    def add(
        self,
        noisy: NDArray[np.float32],
        mean: NDArray[np.float32],
        posterior: NDArray[np.float32],
        step: int = 1,
        left_out: NDArray[np.bool_] | None = None,
    ) -> None:
        """Count pixels in.

        Args:
            noisy, mean, posterior: y, μ and the posterior variance, (C, H, W) or (H, W) in normalised units.
            step: count every step-th row and column.
            left_out: pixels that do not count.
        """
        thin = (..., slice(None, None, step), slice(None, None, step))
        level, slope = _level_and_slope(mean, step)
        index = np.clip(((level - LOW) * (BINS / (HIGH - LOW))).astype(np.int32), 0, BINS - 1)
        counted = _flattest(index, slope, self.flat)
        if left_out is not None:
            counted &= ~left_out[thin]
        level, index = level[counted], index[counted]
        spread = posterior[thin][counted]
        squares = (noisy[thin][counted] - mean[thin][counted]) ** 2 + spread
        self.count += np.bincount(index, minlength=BINS)
        self.mean += np.bincount(index, weights=level, minlength=BINS)
        self.variance += np.bincount(index, weights=squares, minlength=BINS)
        self.posterior += np.bincount(index, weights=spread, minlength=BINS)

    def merge(self, other: NoiseCurve) -> None:
        """Count in what another curve has counted."""
        self.count += other.count
        self.mean += other.mean
        self.variance += other.variance
        self.posterior += other.posterior

    def fit(self, clipped_at: tuple[float, float] = (-np.inf, np.inf)) -> NoiseFit:
        """The line through the curve by iteratively reweighted least squares, α ≥ 0 and σ² ≥ 0 or a black level.

        A point's weight is 1 / (2·v²/n + s²): the variance of a mean of n squared Gaussians of variance v, and the mean
        posterior variance s at that level, which is taken to be uncertain by all of itself. So levels that only edges
        have, where most of v is what the denoiser says of its own error, count little.

        Args:
            clipped_at: normalised values at which the file cuts values off. Points within two standard deviations of
                them are left out (if others remain): their variance is that of half a distribution.
        """
        enough = self.count >= min(SMALLEST_COUNT, self.count.max(initial=0))
        enough &= self.count > 0
        count = self.count[enough]
        if not count.size:
            return NoiseFit(0.0, 0.0, count, count, count)
        mean, variance, posterior = (sums[enough] / count for sums in (self.mean, self.variance, self.posterior))
        reach = 2 * np.sqrt(variance)
        whole = (mean - reach > clipped_at[0]) & (mean + reach < clipped_at[1])
        if whole.sum() >= SMALLEST_POINTS:
            mean, variance, posterior, count = mean[whole], variance[whole], posterior[whole], count[whole]
        expected = np.full_like(variance, np.average(variance, weights=count))
        slope = intercept = 0.0
        for _ in range(10):
            weights = 1 / (2 * np.maximum(expected, 1e-12) ** 2 / count + posterior**2)
            slope, intercept = _line(np.maximum(mean, 0), variance, weights)
            # Far below the usual variance a point would decide alone: the floor bounds its weight.
            expected = np.maximum(slope * np.maximum(mean, 0) + intercept, 1e-2 * variance.max())
        black = max(-intercept / slope, 0.0) if slope > 0 else 0.0
        return NoiseFit(slope, float(np.sqrt(max(intercept, 0.0))), mean, variance, count, black)


def _line(x: NDArray[np.float64], y: NDArray[np.float64], w: NDArray[np.float64]) -> tuple[float, float]:
    """Weighted least squares y = a·x + b with a ≥ 0. A negative b is kept: values on a pedestal have one."""
    share = w / w.sum()  # products, since np.average takes ten times as long on a curve's few points
    mx, my = share @ x, share @ y
    spread = share @ (x - mx) ** 2
    slope = share @ ((x - mx) * (y - my)) / spread if spread > 1e-12 else 0.0
    if slope <= 0:
        return 0.0, float(max(my, 0.0))
    return float(slope), float(my - slope * mx)


def _level_and_slope(mean: NDArray[np.float32], step: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """μ averaged over a box about every step-th pixel, and the squared difference of that between neighbours."""
    planes = torch.from_numpy(np.ascontiguousarray(mean))
    planes = planes.reshape(-1, 1, *mean.shape[-2:])
    side = min(BOX, *(length - (length + 1) % 2 for length in mean.shape[-2:]))  # odd, and no larger than the image
    reach = side // 2
    level = F.avg_pool2d(planes, side, stride=step, padding=reach, count_include_pad=False)
    ahead = F.pad(level, (1, 1, 1, 1), mode="replicate")
    down, across = ahead[..., 2:, 1:-1] - ahead[..., :-2, 1:-1], ahead[..., 1:-1, 2:] - ahead[..., 1:-1, :-2]
    slope = down**2 + across**2
    shape = (*mean.shape[:-2], *level.shape[-2:])
    return level.reshape(shape).numpy(), slope.reshape(shape).numpy()


def _flattest(index: NDArray[np.int32], slope: NDArray[np.float32], share: float) -> NDArray[np.bool_]:
    """Which pixels belong to the flattest `share` of their level; pixels of one class of steepness stay together."""
    steepness = np.log2(np.maximum(slope, 1e-20) / STEEPEST) * 2 + SLOPES
    steepness = np.clip(steepness.astype(np.int32), 0, SLOPES - 1)
    counts = np.bincount((index * SLOPES + steepness).ravel(), minlength=BINS * SLOPES).reshape(BINS, SLOPES)
    below = counts.cumsum(1)
    limit = (below < share * below[:, -1:]).sum(1)  # the class in which the share is reached
    found: NDArray[np.bool_] = steepness <= limit[index]
    return found
