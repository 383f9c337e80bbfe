"""Neighbor2Neighbor (Huang et al., CVPR 2021): two sub-images of neighbouring pixels are a noisy pair."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from model.networks.unets import Denoise
from model.training.objectives.base import Batch, Objective

GAMMA = 2.0
"""Weight of the regulariser at the end of training, growing from 0 with the progress (2 for synthetic noise)."""

PAIRS = ((0, 1), (0, 2), (1, 3), (2, 3), (1, 0), (2, 0), (3, 1), (3, 2))
"""Neighbours, across or down, in a cell of 2 × 2 whose pixels are numbered by rows, in both orders."""


class Neighbor2Neighbor(Objective):
    """|f(g₁(y)) − g₂(y)|² + γ·|f(g₁(y)) − g₂(y) − (g₁(f(y)) − g₂(f(y)))|².

    The regulariser makes up for what the two sub-images' scenes differ by; f(y) in it gets no gradient.
    """

    def forward(self, denoiser: Denoise, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        pair = draw_pairs(batch.noisy, batch.generator)
        first, second = sub_images(batch.noisy, pair)
        with torch.no_grad():
            whole_first, whole_second = sub_images(denoiser(batch.noisy)[0], pair)
        gap = denoiser(first)[0] - second
        reconstruction = (gap**2).mean()
        regulariser = ((gap - (whole_first - whole_second)) ** 2).mean()
        gamma = GAMMA * batch.progress
        parts = {"reconstruction": reconstruction.item(), "regulariser": regulariser.item(), "gamma": gamma}
        return reconstruction + gamma * regulariser, parts


def draw_pairs(noisy: Tensor, generator: torch.Generator) -> Tensor:
    """A pair of neighbours for each cell, (B, 2, H/2, W/2) of pixel numbers 0 … 3; H and W even."""
    count, _, height, width = noisy.shape
    drawn = torch.randint(len(PAIRS), (count, height // 2, width // 2), generator=generator)
    return torch.tensor(PAIRS)[drawn].permute(0, 3, 1, 2).to(noisy.device)


def sub_images(image: Tensor, pair: Tensor) -> tuple[Tensor, Tensor]:
    """g₁ and g₂: (B, C, H/2, W/2) each, of (B, C, H, W) and the pairs of `draw_pairs`."""
    count, channels, height, width = image.shape
    cells = F.pixel_unshuffle(image, 2).view(count, channels, 4, height // 2, width // 2)
    picked = [cells.gather(2, pair[:, None, i : i + 1].expand(-1, channels, -1, -1, -1)).squeeze(2) for i in (0, 1)]
    return picked[0], picked[1]
