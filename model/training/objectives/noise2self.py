"""Noise2Self (Batson and Royer, ICML 2019): a J-invariant f, trained on the pixels that it does not see."""

from __future__ import annotations

import torch
from torch import Tensor

from model.networks.unets import Denoise
from model.training.masker import at_phase, draw_phases, mask_phase, neighbour_average
from model.training.objectives.base import Batch, Objective
from model.training.objectives.blind_spot import blind_spot


class Noise2Self(Objective):
    """|f(y with J replaced)_J − y_J|², J a grid of every fourth pixel, replaced by its neighbours' average."""

    def forward(self, denoiser: Denoise, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        average = neighbour_average(batch.noisy)
        terms = []
        for phase in draw_phases(self.config.phases, batch.generator):
            mean = denoiser(mask_phase(batch.noisy, average, phase))[0]
            terms.append(((at_phase(mean, phase) - at_phase(batch.noisy, phase)) ** 2).mean())
        loss = torch.stack(terms).mean()
        return loss, {"squared": loss.item()}

    def restore(self, denoiser: Denoise, noisy: Tensor) -> Tensor:
        """The J-invariant estimate: each pixel from the others."""
        return blind_spot(denoiser, noisy)[0]
