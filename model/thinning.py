"""Splitting one noisy image into two whose noise is independent, given the line of its noise.

For counts, binomial thinning does this exactly. Its Gaussian stand-in here works for Poisson and Gaussian noise
together and on any scale: y₁ = y + τ·z, y₂ = y − z/τ with Var[z|y] = α·y + σ². That variance is read off the noisy y
itself, whose expectation is x, so E[Var[z|y]|x] = Var[y|x] and the pair's covariance is zero. Read off a denoised
image it is not, since that one carries y's noise (DESIGN.md, 2026-11-22). The idea of recorruption: Pang et al.,
"Recorrupted-to-Recorrupted", CVPR 2021, eq. 9; of thinning: Monroy et al., "Generalized Recorrupted-to-Recorrupted",
CVPR 2025.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# τ of a pair: y₁ = y + τ·z, y₂ = y − z/τ. Training at τ below 1 sees noise nearer to y's own, but leans more on the
# variance being right; a score must be taken near y's own noise, or a model is praised for what nobody asks of it.
TRAINING_TAU = 0.7
SCORING_TAU = 0.5
SMALLEST_VARIANCE = 1e-8


def noise_variance(noisy: Tensor, lines: Tensor) -> Tensor:
    """Var[y|x] read off y, never below the line's floor.

    Args:
        noisy: (B, C, H, W) in normalised units.
        lines: (B, C, 3), slope α, intercept σ² (negative on a pedestal) and the floor.

    Returns:
        (B, C, H, W).
    """
    slope, intercept, floor = (lines[..., i, None, None] for i in range(3))  # (B, C, 1, 1) each
    return torch.maximum(slope * noisy + intercept, floor)


def second_variance(tau: float) -> float:
    """Var[y₂|x] over Var[y|x]; y₁'s is 1 + τ²."""
    return 1 + 1 / tau**2


class Pair(NamedTuple):
    """Two images (B, C, H, W) of the same scene whose noise is independent to second order.

    Attributes:
        first, second: y₁ and y₂.
        variance: the noise's, (B, C, H, W).
    """

    first: Tensor
    second: Tensor
    variance: Tensor
    tau: float

    def excess(self, mean: Tensor) -> Tensor:
        """|y₂ − f(y₁)|² − Var[y₂|x] of each pixel: an unbiased estimate of the squared error of `mean` = f(y₁)."""
        return (self.second - mean) ** 2 - second_variance(self.tau) * self.variance


def thin(noisy: Tensor, lines: Tensor, tau: float, generator: torch.Generator) -> Pair:
    """Split `noisy` (B, C, H, W).

    Args:
        lines: (B, C, 3) of `noise_variance`.
        generator: on the CPU, so that every device draws the same.
    """
    variance = noise_variance(noisy, lines)
    z = torch.randn(noisy.shape, generator=generator).to(noisy.device) * variance.sqrt()
    layout = torch.channels_last
    first, second = ((noisy + change).contiguous(memory_format=layout) for change in (tau * z, -z / tau))
    return Pair(first, second, variance, tau)
