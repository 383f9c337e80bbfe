"""Noises: what a detector, its read-out, a camera's processing and a file format do to a scene."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from model.arrays.normalise import TAIL
from model.synthesis.filters import Array, filtered_inside, gaussian_kernel, to_linear, to_srgb
from model.synthesis.ranges import LogUniform, Mixture, Range, Uniform, happens


class Pair(NamedTuple):
    """A noisy draw of a scene and what the network is to answer, each (C, H, W) float32."""

    noisy: Array
    clean: Array


Noise = Callable[[Array, np.random.Generator], Pair]
Finish = Callable[[Pair, np.random.Generator], Pair]

_MANY_PHOTONS = 60.0  # above, a Poisson draw is a Gaussian one to 1 % of its third moment, at a tenth of the time


def poisson(mean: Array, rng: np.random.Generator) -> Array:
    """Poisson draws of `mean` ≥ 0 (any shape); where it is large, rounded Gaussian ones."""
    spread: Array = np.sqrt(mean)
    out: Array = mean + spread * rng.standard_normal(mean.shape, dtype=np.float32)
    few = mean < _MANY_PHOTONS
    out[few] = rng.poisson(mean[few])
    return out


def clipped_mean(mean: Array, std: Array) -> Array:
    """E[clip(y, 0, 1)] of y ~ N(mean, std²), any shape: what the average of many clipped frames is."""

    def above(edge: float) -> Array:  # E[max(y - edge, 0)], by the normal law's density and distribution
        z = (mean - np.float32(edge)) / std
        density = np.exp(-0.5 * np.minimum(z * z, 80.0)) * np.float32((2 * np.pi) ** -0.5)
        below: Array = (0.5 + 0.5 * torch.erf(torch.from_numpy(z) * 2**-0.5).numpy()).astype(np.float32)
        return (std * (density + z * below)).astype(np.float32)

    return above(0.0) - above(1.0)


@dataclass(frozen=True)
class PoissonGaussian:
    """Independent shot and read noise (Blind2Sound eq. 1): y = α·Poisson(x/α) + N(0, σ²).

    σ is nearly 0 in `shot_limited` of the draws, since most sensors are limited by shot noise.
    """

    alpha: Range = LogUniform(0.0005, 0.08)
    sigma: Range = Uniform(0.0, 0.1, skew=1.5)
    shot_limited: float = 1 / 3
    least_sigma: Range = Uniform(0.0, 0.005)

    def __call__(self, scene: Array, rng: np.random.Generator) -> Pair:
        alpha = np.float32(self.alpha.draw(rng))
        sigma = (self.least_sigma if happens(self.shot_limited, rng) else self.sigma).draw(rng)
        noisy = alpha * poisson((np.maximum(scene, 0) / alpha).astype(np.float32), rng)
        return Pair(noisy + np.float32(sigma) * rng.standard_normal(scene.shape, np.float32), scene)


@dataclass(frozen=True)
class Nothing:
    """No noise: a clean image is to be left alone."""

    def __call__(self, scene: Array, rng: np.random.Generator) -> Pair:
        return Pair(scene.copy(), scene)


@dataclass(frozen=True)
class Correlated:
    """Signal-dependent noise with a spatial and a channel covariance, added in linear light, then the sRGB curve.

    What demosaicking, smoothing, scaling and compression leave of independent noise, without simulating any camera:
    its spectrum is that of a random kernel, from a single pixel to `width` (a Gaussian, stretched along an axis,
    roughened by `roughness`, with a share `slow` of much lower frequencies), and its channels mix by a random
    covariance, from independent to equal. Clipping at both ends happens before the curve, as in a camera.

    The answer is the mean of many such frames, taken before the curve: `clipped_mean`. It is what the references of
    real cameras are, and what can be known; trained to give the light before clipping, a network darkens dark noisy
    areas by ever more the longer it is trained (benchmarks/README.md).

    Attributes:
        exposure: factor on the scene's light.
        alpha, sigma: shot gain and read noise at a gain of 1, in linear light.
        gains: noise of red and of blue over that of green, as white balance amplifies it.
    """

    exposure: Range = LogUniform(0.03, 1.0)
    alpha: Range = LogUniform(1e-3, 0.2)
    sigma: Range = LogUniform(3e-3, 0.3)
    width: Range = Uniform(0.25, 0.95)
    stretch: Range = LogUniform(0.7, 1.4)
    roughness: Range = Uniform(0.0, 0.6)
    slow: Range = Uniform(0.0, 0.35, skew=2.0)
    slow_width: Range = Uniform(1.2, 4.0)
    gains: Range = Uniform(0.8, 1.9)
    between_red_and_blue: Range = Uniform(0.0, 0.8)
    between_green_and_others: Range = Uniform(-0.1, 0.6)
    equal_channels: float = 0.05
    gamma: float = 0.85

    def __call__(self, scene: Array, rng: np.random.Generator) -> Pair:
        curved = happens(self.gamma, rng)
        light = (to_linear(scene) if curved else scene) * np.float32(self.exposure.draw(rng))
        alpha, sigma = np.float32(self.alpha.draw(rng)), np.float32(self.sigma.draw(rng))
        gains = np.ones((len(light), 1, 1), np.float32)
        if len(light) == 3:
            gains[0], gains[2] = self.gains.draw(rng), self.gains.draw(rng)
        std = gains * np.sqrt(alpha * np.maximum(light, 0) + sigma**2)
        noisy = np.clip(light + std * self.field(light.shape, rng), 0, 1)
        clean = clipped_mean(light, std)
        return Pair(to_srgb(noisy), to_srgb(clean)) if curved else Pair(noisy, clean)

    def field(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        """Stationary noise (C, H, W) of variance 1."""
        channels, height, width = shape
        planes = (
            np.concatenate([self._plane(1, height, width, rng) for _ in range(channels)])
            if happens(0.5, rng)
            else self._plane(channels, height, width, rng)
        )
        share = np.float32(self.slow.draw(rng))
        if share > 0.01:
            planes = np.sqrt(1 - share) * planes + np.sqrt(share) * self._slow(channels, height, width, rng)
        if channels == 3:
            planes = np.einsum("ij,jhw->ihw", self.mixing(rng), planes)
        return planes.astype(np.float32)

    def _plane(self, channels: int, height: int, width: int, rng: np.random.Generator) -> Array:
        kernel = self.kernel(rng)
        rows, columns = kernel.shape[0] - 1, kernel.shape[1] - 1
        return filtered_inside(rng.standard_normal((channels, height + rows, width + columns), np.float32), kernel)

    def _slow(self, channels: int, height: int, width: int, rng: np.random.Generator) -> Array:
        taps = gaussian_kernel(self.slow_width.draw(rng))
        taps = taps / np.sqrt((taps**2).sum())
        grown = (channels, height + len(taps) - 1, width + len(taps) - 1)
        return filtered_inside(filtered_inside(rng.standard_normal(grown, np.float32), taps[:, None]), taps[None, :])

    def kernel(self, rng: np.random.Generator) -> Array:
        """A random kernel (7, 7) whose squares sum to 1, so that filtered white noise keeps its variance."""
        width, stretch = self.width.draw(rng), self.stretch.draw(rng)
        down, across = gaussian_kernel(width * stretch, 3), gaussian_kernel(width / stretch, 3)
        taps = down[:, None] * across[None, :]
        if happens(0.5, rng):
            taps = taps * (1 + self.roughness.draw(rng) * rng.standard_normal((7, 7)))
        kernel: Array = (taps / np.sqrt((taps**2).sum())).astype(np.float32)
        return kernel

    def mixing(self, rng: np.random.Generator) -> Array:
        """M with M·Mᵀ the correlation matrix of red, green and blue."""
        if happens(self.equal_channels, rng):
            return np.full((3, 3), 3**-0.5, np.float32)
        rb, rg, gb = (
            self.between_red_and_blue.draw(rng),
            self.between_green_and_others.draw(rng),
            self.between_green_and_others.draw(rng),
        )
        values, vectors = np.linalg.eigh(np.array([[1, rg, rb], [rg, 1, gb], [rb, gb, 1]]))
        mixing = vectors * np.sqrt(np.maximum(values, 0.02))
        out: Array = (mixing / np.sqrt((mixing**2).sum(1, keepdims=True))).astype(np.float32)
        return out


@dataclass(frozen=True)
class Lines:
    """Noise of another kind and, on top, an offset for each row or each column, as sCMOS and video read-outs make."""

    noise: Noise
    strength: Range = LogUniform(0.003, 0.08)

    def __call__(self, scene: Array, rng: np.random.Generator) -> Pair:
        noisy, clean = self.noise(scene, rng)
        shape = (1, noisy.shape[1], 1) if happens(0.5, rng) else (1, 1, noisy.shape[2])
        return Pair(noisy + np.float32(self.strength.draw(rng)) * rng.standard_normal(shape, np.float32), clean)


@dataclass(frozen=True)
class Outliers:
    """Noise of another kind and, on top, hot and dead pixels."""

    noise: Noise
    share: Range = LogUniform(1e-5, 5e-3)
    height: Range = Uniform(0.1, 1.0)

    def __call__(self, scene: Array, rng: np.random.Generator) -> Pair:
        noisy, clean = self.noise(scene, rng)
        hit = rng.random(noisy.shape[1:]) < self.share.draw(rng)
        colours = rng.random((noisy.shape[0], int(hit.sum())), np.float32) * np.float32(self.height.draw(rng))
        noisy = noisy.copy()
        noisy[:, hit] = np.where(rng.random(colours.shape[1]) < 0.8, noisy[:, hit] + colours, 0)
        return Pair(noisy, clean)


@dataclass(frozen=True)
class OneOf:
    """A noise of one kind or another."""

    kinds: Mixture[Noise]

    def __call__(self, scene: Array, rng: np.random.Generator) -> Pair:
        return self.kinds.draw(rng)(scene, rng)


# ---- what a file does to the noisy image afterwards --------------------------------------------------------------


@dataclass(frozen=True)
class Clip:
    """Values outside [0, 1] are lost."""

    def __call__(self, pair: Pair, rng: np.random.Generator) -> Pair:
        return Pair(np.clip(pair.noisy, 0, 1), pair.clean)


@dataclass(frozen=True)
class EightBit:
    """Clipped and rounded to 256 levels."""

    def __call__(self, pair: Pair, rng: np.random.Generator) -> Pair:
        levels = np.rint(np.clip(pair.noisy, 0, 1) * np.float32(255))
        return Pair((levels / np.float32(255)).astype(np.float32), pair.clean)


@dataclass(frozen=True)
class Jpeg:
    """Compressed as JPEG (ITU-T T.81) of 8 bits."""

    quality: Range = Uniform(60, 98)

    def __call__(self, pair: Pair, rng: np.random.Generator) -> Pair:
        levels = np.rint(np.clip(pair.noisy, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
        buffer = io.BytesIO()
        image = Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels)
        image.save(buffer, "JPEG", quality=round(self.quality.draw(rng)), subsampling=int(rng.choice([0, 2])))
        back = np.atleast_3d(np.asarray(Image.open(buffer))).astype(np.float32) / np.float32(255)
        return Pair(np.ascontiguousarray(back.transpose(2, 0, 1)), pair.clean)


@dataclass(frozen=True)
class Kept:
    """Stored as it is."""

    def __call__(self, pair: Pair, rng: np.random.Generator) -> Pair:
        return pair


@dataclass(frozen=True)
class ServedNormalisation:
    """The service's own stretch: percentiles of the noisy image to [0, 1] (`model.normalise`), on both sides alike.

    Only a crop is at hand, so a training crop is stretched by its own percentiles in `probability` of the draws.
    """

    probability: float = 0.6
    smallest: float = 1e-3

    def __call__(self, pair: Pair, rng: np.random.Generator) -> Pair:
        if not happens(self.probability, rng):
            return pair
        low, high = np.percentile(pair.noisy, (TAIL, 100 - TAIL))
        scale = np.float32(max(high - low, self.smallest))
        low = np.float32(low)
        return Pair((pair.noisy - low) / scale, (pair.clean - low) / scale)
