"""Thinned pairs of one noisy image: what fine-tuning learns by (ours, after Recorrupted-to-Recorrupted)."""

from __future__ import annotations

from torch import Tensor

from model.networks import covariance
from model.networks.unets import Denoise
from model.noise import thinning
from model.training.objectives.base import Batch, Objective


class ThinnedPairs(Objective):
    """Learn from the noisy images alone by splitting each into two of independent noise (`thinning.thin`).

    For the pair (y₁, y₂), E|f(y₁) − y₂|² = E|f(y₁) − x|² + E|y₂ − x|²: the gradient is the supervised one, so it can
    continue the training of a supervised base. Blind2Sound's cannot: its visible branch carries no gradient, and a
    network that adds its output to y unlearns the denoising within 200 steps (docs/decisions/model.md).
    """

    COVARIANCE_WEIGHT = 0.01

    def forward(self, denoiser: Denoise, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        if batch.noise_lines is None:
            raise ValueError("thinning must know the noise of each crop: give the batch noise_lines")
        pair = thinning.thin(
            batch.noisy, batch.noise_lines, thinning.TRAINING_TAU, batch.generator, batch.noise_filters
        )
        mean, factor = denoiser(pair.seen)
        scale = pair.variance.mean((1, 2, 3), keepdim=True).clamp_min(thinning.SMALLEST_VARIANCE)  # crops count alike
        fidelity = ((pair.second - mean) ** 2 / scale).mean()
        # The excess is what the mean is wrong by, without bias, so Σ_x learns it by least squares (as in n2c).
        spread = covariance.diagonal_of(covariance.outer_gram(factor))
        moments = (((spread - pair.excess(mean.detach())) / scale) ** 2).mean()
        return fidelity + self.COVARIANCE_WEIGHT * moments, {"thinned": fidelity.item(), "moments": moments.item()}
