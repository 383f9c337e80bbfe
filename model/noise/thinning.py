"""Splitting one noisy image into two whose noise is independent, given the line of its noise.

y₁ = y + τ·z and y₂ = y − z/τ with a made-up noise z of variance α·y + σ². The variance is read off the noisy y itself,
whose expectation is x, so E[Var[z|y]|x] = Var[y|x] and the pair's covariance is zero. Read off a denoised image it is
not, since that one carries y's noise (docs/decisions/model.md).

Where read noise is small against the step of one photon, photons can be counted, and z deals them out: binomial
thinning splits a Poisson number into two independent ones. Elsewhere z is Gaussian and the pair independent to second
order. That tells at a few photons a pixel, where a y of 0 would give itself away in y₁. The idea of recorruption: Pang
et al., "Recorrupted-to-Recorrupted", CVPR 2021, eq. 9; of thinning: Monroy et al., "Generalized
Recorrupted-to-Recorrupted", CVPR 2025.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from model.noise.coloured import coloured

# τ of a pair: y₁ = y + τ·z, y₂ = y − z/τ. Training at τ below 1 sees noise nearer to y's own, but leans more on the
# variance being right; a score must be taken near y's own noise, or a model is praised for what nobody asks of it.
TRAINING_TAU = 0.7
SCORING_TAU = 0.5
SMALLEST_VARIANCE = 1e-8
# Photons can be counted while read noise is at most half a photon's step and there is no pedestal, so that none is 0;
# a fitted line may err by a tenth of a step.
COUNTABLE_SIGMA = 0.5
COUNTABLE_PEDESTAL = 0.1


def variance_at(noisy: Tensor, lines: Tensor) -> Tensor:
    """Var[y|x] read off y, never below the line's floor.

    Args:
        noisy: (B, C, H, W) in normalised units.
        lines: (B, C, 4), slope α, intercept (σ² at y = 0; negative on a pedestal), the floor, and where 0 of the file
            lies, in normalised units.

    Returns:
        (B, C, H, W).
    """
    slope, intercept, floor = (lines[..., i, None, None] for i in range(3))  # (B, C, 1, 1) each
    return torch.maximum(slope * noisy + intercept, floor)


def second_variance(tau: float) -> float:
    """Var[y₂|x] over Var[y|x]; y₁'s is 1 + τ²."""
    return 1 + 1 / tau**2


class Pair(NamedTuple):
    """Two images (B, C, H, W) of the same scene whose noise is independent, to second order at least.

    Attributes:
        first, second: y₁ and y₂.
        variance: the noise's, (B, C, H, W).
        beside: other frames that a network sees, untouched, (B, n·C, H, W); their noise is their own.
    """

    first: Tensor
    second: Tensor
    variance: Tensor
    tau: float
    beside: Tensor | None = None

    @property
    def seen(self) -> Tensor:
        """What a network is shown: y₁, and what is beside it."""
        return self.first if self.beside is None else torch.cat([self.first, self.beside], 1)

    def excess(self, mean: Tensor) -> Tensor:
        """|y₂ − f(y₁)|² − Var[y₂|x] of each pixel: an unbiased estimate of the squared error of `mean` = f(y₁)."""
        return (self.second - mean) ** 2 - second_variance(self.tau) * self.variance


def thin(noisy: Tensor, lines: Tensor, tau: float, generator: torch.Generator, filters: Tensor | None = None) -> Pair:
    """Split `noisy` (B, C, H, W); of (B, n·C, H, W), a page with other frames beside it, the page.

    Args:
        lines: (B, C, 4) of `variance_at`.
        generator: on the CPU, so that every device draws the same.
        filters: (C, C, K, K) of `noise_shape`, where neighbours share their noise: with z of y's own covariance that of
            the pair is zero as well, matrix for matrix.
    """
    beside = noisy[:, lines.shape[1] :] if noisy.shape[1] > lines.shape[1] else None
    noisy = noisy[:, : lines.shape[1]]
    variance = variance_at(noisy, lines)
    if filters is not None:
        return _pair(noisy, coloured(variance.sqrt(), filters, generator), variance, tau, beside)
    normal = torch.randn(noisy.shape, generator=generator).to(noisy.device)
    z = normal * variance.sqrt()
    read = _read_variance(lines)
    counted = _countable(lines, read)[..., None, None]  # (B, C, 1, 1)
    if bool(counted.any()):
        slope, zero = torch.where(counted, lines[..., 0, None, None], 1.0), lines[..., 3, None, None]
        dealt = slope * _deal((noisy - zero) / slope, tau, generator)
        z = torch.where(counted, dealt + normal * read[..., None, None].clamp_min(0).sqrt(), z)
    return _pair(noisy, z, variance, tau, beside)


def _pair(noisy: Tensor, z: Tensor, variance: Tensor, tau: float, beside: Tensor | None) -> Pair:
    layout = torch.channels_last
    first, second = ((noisy + change).contiguous(memory_format=layout) for change in (tau * z, -z / tau))
    return Pair(first, second, variance, tau, beside)


def _read_variance(lines: Tensor) -> Tensor:  # (B, C, 4) -> (B, C)
    """The line's variance at 0 of the file: σ², or below 0 on a pedestal."""
    return lines[..., 1] + lines[..., 0] * lines[..., 3]


def _countable(lines: Tensor, read: Tensor) -> Tensor:  # (B, C, 4), (B, C) -> (B, C)
    """Whether y/α, rounded, is the number of photons."""
    slope = lines[..., 0]
    return (slope > 0) & (read <= (COUNTABLE_SIGMA * slope) ** 2) & (read >= -COUNTABLE_PEDESTAL * slope**2)


def _deal(counts: Tensor, tau: float, generator: torch.Generator) -> Tensor:
    """Noise d such that n + τ·d and n − d/τ are scaled independent Poisson numbers, n the rounded `counts`."""
    photons, share = counts.round().clamp_min(0), 1 / (1 + tau**2)
    # The generator lives on the CPU.
    dealt = torch.binomial(photons.cpu(), torch.full(photons.shape, share), generator=generator).to(counts.device)
    return (dealt / share - photons) / tau
