"""Noise2Noise (Lehtinen et al., ICML 2018): another noisy image of the same scene is target enough."""

from __future__ import annotations

from torch import Tensor

from model.networks.unets import Denoise
from model.training.objectives.base import Batch, Objective


class Noise2Noise(Objective):
    """|f(y) − y′|²: y′ has noise of its own, so the minimum is E[x|y], as with clean targets."""

    needs_clean = True
    noisy_targets = True

    def forward(self, denoiser: Denoise, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        if batch.clean is None:
            raise ValueError("n2n needs a second noisy image of each scene: set noisy_targets and a synthetic noise")
        loss = ((denoiser(batch.noisy)[0] - batch.clean) ** 2).mean()
        return loss, {"squared": loss.item()}
