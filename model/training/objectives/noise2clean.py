"""Noise2Clean: the supervised control, and what the base models learn by."""

from __future__ import annotations

import torch
from torch import Tensor

from model.networks import covariance
from model.networks.unets import Denoise
from model.training.objectives.base import Batch, Objective


class Noise2Clean(Objective):
    """N2C, the supervised control: log-MSE of the mean, and the covariance matched to the error's second moments.

    The logarithm a crop weighs every noise level alike, which a blind model needs (its gradient is the mean PSNR's).
    The covariance learns by least squares from the detached error e: the minimum of |Σ_x − e·eᵀ|² is E[e·eᵀ | y]
    without bias, and unlike a likelihood it has no pole where the factor A crosses 0.
    """

    needs_clean = True
    FLOOR = 1e-5  # mean squared error below which a crop is good enough (50 dB)
    COVARIANCE_WEIGHT = 0.01

    def forward(self, denoiser: Denoise, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        if batch.clean is None:
            raise ValueError("n2c is supervised: it needs clean images and synthetic noise")
        mean, factor = denoiser(batch.noisy)
        error = batch.clean - mean  # (B, C, H, W)
        mse = (error**2).mean((1, 2, 3)) + self.FLOOR  # (B,)
        fidelity = torch.log(mse).mean()
        detached, size = error.detach(), error.shape[1]
        products = [detached[:, i] * detached[:, j] for i in range(size) for j in range(i, size)]
        gap = covariance.outer_gram(factor) - torch.stack(products, 1)  # (B, T, H, W)
        moments = ((gap / mse.detach().view(-1, 1, 1, 1)) ** 2).mean()
        return fidelity + self.COVARIANCE_WEIGHT * moments, {"log_mse": fidelity.item(), "moments": moments.item()}
