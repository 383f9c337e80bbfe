"""The masker of Blind2Sound / Blind2Unblind (§3.1): 4×4 cells, one masked pixel in each, 16 phases.

A masked pixel is replaced by the weighted average of its eight neighbours, and the masked branch's output is read at
masked pixels only, so it cannot depend on the value it is compared with.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

CELL = 4
PHASES = CELL * CELL


def neighbour_average(image: Tensor) -> Tensor:
    """Each pixel's 8-neighbour average with kernel [[.5, 1, .5], [1, 0, 1], [.5, 1, .5]] / 6, reflected at the border.

    Args:
        image: (B, C, H, W), H and W at least 2.
    """
    channels = image.shape[1]
    kernel = image.new_tensor([[0.5, 1.0, 0.5], [1.0, 0.0, 1.0], [0.5, 1.0, 0.5]]) / 6.0
    padded = F.pad(image, (1, 1, 1, 1), mode="reflect")
    return F.conv2d(padded, kernel.expand(channels, 1, 3, 3), groups=channels)


def mask_phase(image: Tensor, average: Tensor, phase: int) -> Tensor:
    """`image` with the masked pixels of one phase (0 … 15) replaced by `average`."""
    row, column = divmod(phase, CELL)
    masked = image.clone(memory_format=torch.contiguous_format)
    masked[..., row::CELL, column::CELL] = average[..., row::CELL, column::CELL]
    return masked


def at_phase(image: Tensor, phase: int) -> Tensor:
    """The masked pixels of one phase: (B, C, H, W) -> (B, C, H/4, W/4)."""
    row, column = divmod(phase, CELL)
    return image[..., row::CELL, column::CELL]


def draw_phases(count: int, generator: torch.Generator) -> list[int]:
    """`count` different phases at random: each is as likely, so the gradient's expectation is that of all 16.

    Raises:
        ValueError: count outside 1 … 16.
    """
    if not 1 <= count <= PHASES:
        raise ValueError(f"phases must be between 1 and {PHASES}, not {count}")
    return torch.randperm(PHASES, generator=generator)[:count].tolist()
