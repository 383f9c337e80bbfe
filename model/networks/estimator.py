"""The noise estimator g (Blind2Sound §3.3): a noisy image in, its α, σ1², σ2² out. Used in training only."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import EstimatorConfig
from model.networks.unets import SLOPE


class NoiseEstimate(NamedTuple):
    """One level an image: `alpha`, `variance_masked` (σ1²), `variance_visible` (σ2²), each (B,), all > 0."""

    alpha: Tensor
    variance_masked: Tensor
    variance_visible: Tensor


class NoiseEstimator(nn.Module):
    """A small U-Net, three heads, a spatial mean (docs/method.md §2).

    The authors' |out| + 1e-5 forces σ ≥ 0.0025 and cannot reach PG1's 0.0002. Here the spatial mean goes through a
    softplus in units of the starting value, which reaches any positive number and keeps a gradient on the way.
    """

    def __init__(self, config: EstimatorConfig, channels: int) -> None:
        super().__init__()
        self.config = config
        w0, w1, w2 = config.widths
        inputs = channels * config.unshuffle**2
        self.enter = _stage(inputs, w0)
        self.down1 = _stage(w0, w1)
        self.down2 = _stage(w1, w2)
        self.up1 = _stage(w2 + w1, w1)
        self.up0 = _stage(w1 + w0, w0)
        self.heads = nn.Conv2d(w0, 3, 1)
        nn.init.normal_(self.heads.weight, std=0.01)
        nn.init.zeros_(self.heads.bias)  # type: ignore[arg-type]
        variance = config.start_sigma**2
        self.scale: Tensor
        self.register_buffer("scale", torch.tensor([config.start_alpha, variance, variance]))

    def forward(self, noisy: Tensor, start: Tensor | None = None) -> NoiseEstimate:
        """Noise of each image.

        Args:
            noisy: (B, C, H, W) in normalised units, H and W multiples of 8.
            start: what a fresh estimator answers, (B, 3): α, σ1², σ2², all > 0; None: the same for all images.
        """
        x = F.pixel_unshuffle(noisy - 0.5, self.config.unshuffle)
        h0 = self.enter(x)
        h1 = self.down1(F.max_pool2d(h0, 2))
        h2 = self.down2(F.max_pool2d(h1, 2))
        h1 = self.up1(torch.cat([F.interpolate(h2, scale_factor=2.0), h1], 1))
        h0 = self.up0(torch.cat([F.interpolate(h1, scale_factor=2.0), h0], 1))
        pooled = self.heads(h0).mean((2, 3))  # (B, 3)
        # softplus(0 + ln(e − 1)) = 1: a fresh estimator answers its starting values.
        values = (self.scale if start is None else start) * F.softplus(pooled + math.log(math.e - 1))
        return NoiseEstimate(values[:, 0], values[:, 1], values[:, 2])


def _stage(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1), nn.LeakyReLU(SLOPE),
        nn.Conv2d(outputs, outputs, 3, padding=1), nn.LeakyReLU(SLOPE),
    )  # fmt: skip
