"""Pairs of frames of one scene, whose noise is independent whatever it looks like within a frame."""

from __future__ import annotations

import torch
from torch import Tensor

from model.frames.errors import FrameErrors
from model.networks import covariance
from model.networks.unets import Denoise
from model.noise import thinning
from model.training.objectives.base import Batch, Objective


class FramePairs(Objective):
    """Noise2Noise (Lehtinen et al., ICML 2018): what a frame shows is to be what two others show of the same scene.

    Frames have noise of their own, however alike it is within one, so the gradient is the supervised one. Of two
    targets the product (f - y₂)·(f - y₃) is f's squared error without bias and without a noise line: Σ_x learns it.
    """

    COVARIANCE_WEIGHT = 0.01

    def forward(self, denoiser: Denoise, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        if batch.targets is None or batch.noise_lines is None:
            raise ValueError("frame pairs need other frames of the same scene and noise_lines to weigh crops by")
        mean, factor = denoiser(batch.noisy)
        channels = mean.shape[1]
        noise = thinning.variance_at(batch.noisy[:, :channels], batch.noise_lines)
        scale = noise.mean((1, 2, 3), keepdim=True).clamp_min(thinning.SMALLEST_VARIANCE)  # crops count alike
        errors = FrameErrors.of(mean, batch.targets)
        fidelity = (errors.squares / scale).mean()
        spread = covariance.diagonal_of(covariance.outer_gram(factor))
        gap = torch.where(errors.both, spread - errors.product.detach(), 0.0)
        moments = ((gap / scale) ** 2).mean()
        return fidelity + self.COVARIANCE_WEIGHT * moments, {"frames": fidelity.item(), "moments": moments.item()}
