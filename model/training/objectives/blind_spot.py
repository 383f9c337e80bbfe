"""f as a blind-spot network, by masking: each pixel's answer read where the pixel itself was replaced."""

from __future__ import annotations

import torch
from torch import Tensor

from model.networks.unets import Denoise
from model.training.masker import CELL, PHASES, mask_phase, neighbour_average


def blind_spot(denoiser: Denoise, noisy: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (B, C, H, W) and factor (B, T, H, W) of f, of which no pixel has seen its own y.

    Sixteen passes, one a phase of the masker (Noise2Self's J-invariant f; docs/method.md §2).

    Args:
        noisy: (B, C, H, W), H and W multiples of 4.
    """
    average = neighbour_average(noisy)
    means, factors = torch.empty(0), torch.empty(0)
    for phase in range(PHASES):
        mean, factor = denoiser(mask_phase(noisy, average, phase))
        if phase == 0:
            means, factors = torch.empty_like(mean), torch.empty_like(factor)
        row, column = divmod(phase, CELL)
        means[..., row::CELL, column::CELL] = mean[..., row::CELL, column::CELL]
        factors[..., row::CELL, column::CELL] = factor[..., row::CELL, column::CELL]
    return means, factors
