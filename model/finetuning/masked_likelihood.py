"""How likely masked pixels are under what a denoiser says of them from the others; no wrong noise line flatters it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from model.finetuning.blind_spots import blind_spots
from model.networks import covariance
from model.noise import thinning
from model.training.masker import at_phase, mask_phase, neighbour_average

PHASES = (0, 5, 10, 15)  # of the masker


def masked_nll(
    network: Callable[[Tensor], tuple[Tensor, Tensor]], noisy: Tensor, lines: Tensor, reach: int = 0
) -> float:
    """½·rᵀΣ_y⁻¹r + ½·log det Σ_y a channel, at the masked pixels of some phases (docs/method.md §3 with λ = 0).

    Where neighbours share their noise a mask of one pixel would be seen through: so all within `reach` are masked.

    Args:
        noisy: (B, C, H, W), or (B, n·C, H, W) with other frames behind the page.
    """
    page, beside = noisy[:, : lines.shape[1]], noisy[:, lines.shape[1] :]
    terms = []
    for image, at in _masked(page, reach):
        mean, factor = network(torch.cat([image, beside], 1))
        noise = thinning.variance_at(mean, lines).clamp_min(thinning.SMALLEST_VARIANCE)
        sigma_y = covariance.add_diagonal(covariance.outer_gram(factor), noise)
        terms.append(covariance.gaussian_nll(at(page - mean), at(sigma_y)).mean())
    return float(torch.stack(terms).mean()) / page.shape[1]


def _masked(page: Tensor, reach: int) -> list[tuple[Tensor, Callable[[Tensor], Tensor]]]:
    """Masked images, and what takes their masked pixels out."""
    if reach:
        return [(spots.image, spots.at) for spots in blind_spots(page, reach)]
    average = neighbour_average(page)
    return [(mask_phase(page, average, phase), partial(at_phase, phase=phase)) for phase in PHASES]
