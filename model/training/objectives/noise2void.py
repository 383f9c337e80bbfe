"""Noise2Void (Krull, Buchholz, Jug, CVPR 2019): predict pixels whose value was replaced by a neighbour's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from model.networks.unets import Denoise
from model.training.objectives.base import Batch, Objective

CELL = 8
"""One masked pixel in each square of 8 × 8: stratified sampling of 64 pixels in a patch of 64 × 64."""

REACH = 2
"""The value comes from the 5 × 5 pixels about the masked one (uniform pixel selection)."""


class Noise2Void(Objective):
    """|f(y′) − y|² at the masked pixels, y′ being y with another pixel's value there."""

    def forward(self, denoiser: Denoise, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        masked, replaced = with_replaced_pixels(batch.noisy, batch.generator)
        squared = (denoiser(masked)[0] - batch.noisy) ** 2
        loss = squared.mul(replaced).sum() / (replaced.sum() * batch.noisy.shape[1])
        return loss, {"squared": loss.item()}


def with_replaced_pixels(noisy: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A copy of (B, C, H, W) with one pixel a cell replaced in all channels, and where: (B, 1, H, W) of 0 and 1.

    Args:
        generator: on the CPU, so that every device draws the same.
    """
    count, _, height, width = noisy.shape
    rows, columns = -(-height // CELL), -(-width // CELL)
    chosen = torch.randint(CELL * CELL, (count, 1, rows, columns), generator=generator)
    cells = F.one_hot(chosen, CELL * CELL).view(count, rows, columns, CELL, CELL)
    replaced = cells.permute(0, 1, 3, 2, 4).reshape(count, 1, rows * CELL, columns * CELL)[..., :height, :width]
    side = 2 * REACH + 1
    drawn = torch.randint(side * side - 1, (count, 1, height, width), generator=generator)
    offset = drawn + (drawn >= side * side // 2)  # any of the square but its middle
    down = _inside(torch.arange(height).view(1, 1, -1, 1), offset // side - REACH, height)
    right = _inside(torch.arange(width).view(1, 1, 1, -1), offset % side - REACH, width)
    index = (down * width + right).expand(-1, noisy.shape[1], -1, -1).flatten(2).to(noisy.device)
    others = noisy.flatten(2).gather(2, index).view_as(noisy)
    where = replaced.to(noisy)
    return torch.where(where.bool(), others, noisy), where


def _inside(place: Tensor, step: Tensor, size: int) -> Tensor:
    """`place + step`, or `place − step` where that lies outside; so never `place` itself, as a reflection may be."""
    there = place + step
    return torch.where((there < 0) | (there >= size), place - step, there)
