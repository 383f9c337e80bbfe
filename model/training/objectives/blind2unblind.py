"""Blind2Unblind (Wang et al., CVPR 2022): the re-visible loss that Blind2Sound builds on."""

from __future__ import annotations

import torch
from torch import Tensor

from model.networks.unets import Denoise
from model.training.masker import at_phase, draw_phases, mask_phase, neighbour_average
from model.training.objectives.base import Batch, Objective, visibility


class Blind2Unblind(Objective):
    """mean(d_m²) + mean((d_m + λ·d_v)²), d = output − y, λ 2 → 20 (Wang et al., CVPR 2022; docs/method.md §6)."""

    def forward(self, denoiser: Denoise, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        lam = visibility(batch.progress, 2.0, 20.0, knee=0.0)
        noisy = batch.noisy
        with torch.no_grad():
            visible = denoiser(noisy)[0] - noisy
        average = neighbour_average(noisy)
        terms = []
        for phase in draw_phases(self.config.phases, batch.generator):
            mean_m = denoiser(mask_phase(noisy, average, phase))[0]
            d_m = at_phase(mean_m, phase) - at_phase(noisy, phase)
            d_v = at_phase(visible, phase)
            terms.append((d_m**2).mean() + ((d_m + lam * d_v) ** 2).mean())
        loss = torch.stack(terms).mean()
        return loss, {"revisible": loss.item(), "lambda": lam}
