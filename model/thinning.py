"""Splitting one noisy image into two whose noise is independent, given the line of its noise.

For counts, binomial thinning does this exactly. Its Gaussian stand-in here works for Poisson and Gaussian noise
together and on any scale: y₁ = y + τ·z, y₂ = y − z/τ with Var[z|y] = α·y + σ². That variance is read off the noisy y
itself, whose expectation is x, so E[Var[z|y]|x] = Var[y|x] and the pair's covariance is zero. Read off a denoised
image it is not, since that one carries y's noise (DESIGN.md, 2026-11-22). The idea of recorruption: Pang et al.,
"Recorrupted-to-Recorrupted", CVPR 2021, eq. 9; of thinning: Monroy et al., "Generalized Recorrupted-to-Recorrupted",
CVPR 2025.
"""

from __future__ import annotations

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


def thin(noisy: Tensor, variance: Tensor, tau: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two images (B, C, H, W) of the same scene whose noise is independent to second order.

    Args:
        variance: (B, C, H, W) of `noise_variance`.
        generator: on the CPU, so that every device draws the same.
    """
    z = torch.randn(noisy.shape, generator=generator).to(noisy.device) * variance.sqrt()
    layout = torch.channels_last
    return (noisy + tau * z).contiguous(memory_format=layout), (noisy - z / tau).contiguous(memory_format=layout)
