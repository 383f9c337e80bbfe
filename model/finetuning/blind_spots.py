"""Pixels that are predicted from beyond the reach of their noise: holes in an image, judged at their centres."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from model.training.masker import CELL

BETWEEN = 3  # pixels that are seen between two holes
SPOTS = 4  # grids of holes


class BlindSpots(NamedTuple):
    """An image with holes (B, C, H, W), and where their centres lie: every `cell`-th row and column from `start` on."""

    image: Tensor
    start: int
    cell: int

    def at(self, image: Tensor) -> Tensor:
        return image[..., self.start :: self.cell, self.start :: self.cell]


def blind_spots(noisy: Tensor, reach: int) -> list[BlindSpots]:
    """`noisy` (B, C, H, W) with holes of 2·reach + 1 pixels a side, filled with what lies about them."""
    cell = -(-(2 * reach + 1 + BETWEEN) // CELL) * CELL
    found = []
    for spot in range(SPOTS):
        start = spot * cell // SPOTS
        centres = torch.zeros_like(noisy[:1, :1])
        centres[..., start::cell, start::cell] = 1
        hole = F.max_pool2d(centres, 2 * reach + 1, 1, reach)
        side = 4 * reach + 3
        about = F.avg_pool2d(noisy * (1 - hole), side, 1, side // 2)
        seen = F.avg_pool2d(1 - hole, side, 1, side // 2)
        found.append(BlindSpots(noisy * (1 - hole) + hole * about / seen.clamp_min(1e-6), start, cell))
    return found
