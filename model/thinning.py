"""Splitting one noisy image into two whose noise is independent, given the line of its noise.

For counts, binomial thinning at p = 1/2 does this exactly. Its Gaussian stand-in here works for Poisson and Gaussian
noise together and on any scale: y₁ = y + z, y₂ = y − z with Var[z|y] = α·y + σ². That variance is read off the noisy y
itself, whose expectation is x, so E[Var[z|y]|x] = Var[y|x] and the pair's covariance is zero. Read off a denoised image
it is not, since that one carries y's noise (measured: benchmarks/README.md). The idea of recorruption: Pang et al.,
"Recorrupted-to-Recorrupted", CVPR 2021, eq. 9; of thinning: Monroy et al., "Generalized Recorrupted-to-Recorrupted",
CVPR 2025.
"""

from __future__ import annotations

import torch
from torch import Tensor

SECOND_VARIANCE = 2.0  # Var[y₂|x] over the noise's variance
SMALLEST_VARIANCE = 1e-8


def noise_variance(noisy: Tensor, lines: Tensor) -> Tensor:
    """Var[y|x] read off y, never below 0.

    Args:
        noisy: (B, C, H, W) in normalised units.
        lines: (B, C, 2), slope α and intercept σ² (negative on a pedestal).

    Returns:
        (B, C, H, W).
    """
    slope, intercept = lines[..., 0, None, None], lines[..., 1, None, None]  # (B, C, 1, 1)
    return (slope * noisy + intercept).clamp_min(0)


def thin(noisy: Tensor, variance: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two images (B, C, H, W) of the same scene, each with twice the noise's variance, independent to second order.

    Args:
        variance: (B, C, H, W) of `noise_variance`.
        generator: on the CPU, so that every device draws the same.
    """
    z = torch.randn(noisy.shape, generator=generator).to(noisy.device) * variance.sqrt()
    layout = torch.channels_last
    return (noisy + z).contiguous(memory_format=layout), (noisy - z).contiguous(memory_format=layout)
