"""Laine et al., "High-Quality Self-Supervised Deep Image Denoising", NeurIPS 2019: a blind spot's prior, then Bayes."""

from __future__ import annotations

import torch
from torch import Tensor

from model.config import ObjectiveConfig
from model.networks import covariance
from model.networks.estimator import NoiseEstimate, NoiseEstimator
from model.networks.unets import Denoise
from model.training.losses import MEAN_FLOOR
from model.training.masker import at_phase, draw_phases, mask_phase, neighbour_average
from model.training.objectives.base import Batch, Objective
from model.training.objectives.blind_spot import blind_spot

NOISE_REWARD = 0.1
"""Weight of the noise's mean std, subtracted where the noise is unknown, so that doubt counts as noise."""


class Laine19(Objective):
    """Negative log-likelihood of y under N(μ_m, Σ_m + n), of the blind spot's μ_m, Σ_m and g's noise n = α·μ_m + σ².

    The paper's Gaussian and Poisson cases in one. The blind spot is made by masking, as for all methods here, in the
    place of shifted half-plane convolutions, with f's arithmetic the same. At inference the posterior mean with y.
    """

    def __init__(self, config: ObjectiveConfig, channels: int) -> None:
        super().__init__(config, channels)
        self.g = NoiseEstimator(config.estimator, channels)
        self.lr_ratio = config.estimator.lr_ratio

    def forward(self, denoiser: Denoise, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        noise: NoiseEstimate = self.g(batch.noisy)
        average = neighbour_average(batch.noisy)
        terms, spreads = [], []
        for phase in draw_phases(self.config.phases, batch.generator):
            mean, factor = (at_phase(part, phase) for part in denoiser(mask_phase(batch.noisy, average, phase)))
            variance = noise_variance(mean, noise)
            sigma_y = covariance.add_diagonal(covariance.outer_gram(factor), variance)
            terms.append(covariance.gaussian_nll(at_phase(batch.noisy, phase) - mean, sigma_y).mean())
            spreads.append(variance.sqrt().mean())
        likelihood, spread = torch.stack(terms).mean(), torch.stack(spreads).mean()
        sigma = noise.variance_masked.sqrt().mean()
        parts = {"nll": likelihood.item(), "alpha": noise.alpha.mean().item(), "sigma": sigma.item()}
        return likelihood - NOISE_REWARD * spread, parts

    def restore(self, denoiser: Denoise, noisy: Tensor) -> Tensor:
        """E[x|y] = (Σ_m⁻¹ + n⁻¹)⁻¹·(Σ_m⁻¹·μ_m + n⁻¹·y), written as μ_m + Σ_m·(Σ_m + n)⁻¹·(y − μ_m)."""
        mean, factor = blind_spot(denoiser, noisy)
        return posterior_mean(noisy, mean, covariance.outer_gram(factor), noise_variance(mean, self.g(noisy)))


def noise_variance(mean: Tensor, noise: NoiseEstimate) -> Tensor:
    """n = α·max(μ, floor) + σ², (B, C, H, W); no gradient flows back into the mean."""
    shape = (-1, 1, 1, 1)
    return noise.alpha.view(shape) * mean.detach().clamp_min(MEAN_FLOOR) + noise.variance_masked.view(shape)


def posterior_mean(noisy: Tensor, mean: Tensor, sigma: Tensor, variance: Tensor) -> Tensor:
    """Mean of x given y = x + noise, x ~ N(`mean`, `sigma`) and noise of `variance`, channels apart.

    Args:
        noisy, mean, variance: (B, C, H, W).
        sigma: (B, T, H, W), Σ's upper triangle.
    """
    size = mean.shape[1]
    matrix = mean.new_zeros(*mean.shape[:1], *mean.shape[2:], size, size)  # (B, H, W, C, C)
    for entry, (row, column) in zip(sigma.unbind(1), torch.triu_indices(size, size).T.tolist(), strict=True):
        matrix[..., row, column] = matrix[..., column, row] = entry
    total = matrix + torch.diag_embed(variance.movedim(1, -1))
    moved: Tensor = matrix @ torch.linalg.solve(total, (noisy - mean).movedim(1, -1)[..., None])
    return mean + moved[..., 0].movedim(-1, 1)
