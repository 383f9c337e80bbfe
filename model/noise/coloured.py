"""Noise that neighbours and channels share, drawn behind a filter (`noise_shape`)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def coloured(amplitude: Tensor, filters: Tensor, generator: torch.Generator) -> Tensor:
    """Noise behind `filters` (C, C, K, K) of white noise whose std is `amplitude`, (B, C, H, W).

    Args:
        generator: on the CPU, so that every device draws the same.
    """
    reach = filters.shape[-1] // 2
    batch, channels, height, width = amplitude.shape
    white = torch.randn((batch, channels, height + 2 * reach, width + 2 * reach), generator=generator)
    wide = F.pad(amplitude, (reach,) * 4, mode="replicate")
    return F.conv2d(wide * white.to(amplitude.device), filters.to(amplitude.device))
