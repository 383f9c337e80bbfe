"""Blind2Sound (ICCV 2025): denoiser and noise estimator trained jointly on noisy images alone."""

from __future__ import annotations

import torch
from torch import Tensor

from model.config import ObjectiveConfig
from model.networks import covariance
from model.networks.estimator import NoiseEstimate, NoiseEstimator
from model.networks.unets import Denoise
from model.training.losses import (
    CramerGaussian,
    adaptive_revisible,
    noise_variance,
    own_slope,
    read_variance,
    revisible_covariance,
    revisible_mean,
    unbiased_risk,
)
from model.training.masker import at_phase, draw_phases, mask_phase, neighbour_average
from model.training.objectives.base import Batch, Objective, visibility

SMALLEST_ALPHA, SMALLEST_SIGMA = 1e-4, 1e-3  # that an informed g begins with: its answers are multiples of them


class Blind2Sound(Objective):
    """L = L_arv + w·L_est, f and g trained jointly (Blind2Sound §3; docs/method.md §3), and with `risk` L_risk (ours).

    The cost of a step with K phases is K trained passes and one visible pass; L_risk makes that one a trained one, too,
    and adds another.

    L_arv trains the masked branch: how far f(y) trusts a pixel's own y is left to what the shared weights happen to do
    there. L_risk is f(y)'s squared error as Stein's estimate tells it from y and the noise, so it trains just that. The
    noise is then g's by L_est alone: both likelihood and risk could be lowered by a noise that is wrong.
    """

    def __init__(self, config: ObjectiveConfig, channels: int) -> None:
        super().__init__(config, channels)
        self.g = NoiseEstimator(config.estimator, channels)
        self.lr_ratio = config.estimator.lr_ratio
        self.regulariser = CramerGaussian(config.patch_stride, config.corner)
        self.enhanced = config.enhanced_noise and not config.known_alpha  # what is known has one σ

    def forward(self, denoiser: Denoise, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        config = self.config
        lam = visibility(batch.progress, config.visibility_start, config.visibility_end, config.visibility_knee)
        start, black = _known_noise(batch) if config.informed else (None, 0.0)
        noise: NoiseEstimate = _given(config, batch.noisy) if config.known_alpha else self.g(batch.noisy, start)
        parts = {"lambda": lam}
        if config.risk:
            given = NoiseEstimate(*(part.detach() for part in noise))
            taught, risk = self._risk(denoiser, batch, given, lam, black)
            arv = self._likelihood(denoiser, batch, taught, given, lam, black)
            loss = arv + config.risk * risk
            parts["risk"] = risk.item()
        else:
            with torch.no_grad():
                visible = denoiser(batch.noisy)
            loss = arv = self._likelihood(denoiser, batch, visible, noise, lam, black)
        parts["arv"] = arv.item()
        if config.regulariser and not config.known_alpha and batch.step % config.regulariser_every == 0:
            sigma2 = read_variance(noise, lam, self.enhanced)
            est = self.regulariser(batch.noisy - black, noise.alpha, sigma2)
            loss = loss + config.regulariser * config.regulariser_every * est
            parts["est"] = est.item()
        parts |= _noise_parts(noise, lam, self.enhanced)
        return loss, parts

    def _likelihood(
        self,
        denoiser: Denoise,
        batch: Batch,
        visible: tuple[Tensor, Tensor],
        noise: NoiseEstimate,
        lam: float,
        black: Tensor | float,
    ) -> Tensor:
        """L_arv, the mean over the drawn phases; `visible` is f(y), which gets no gradient."""
        config, noisy = self.config, batch.noisy
        mean_v, factor_v = visible[0].detach(), visible[1].detach()
        average = neighbour_average(noisy)
        losses = []
        for phase in draw_phases(config.phases, batch.generator):
            mean_m, factor_m = denoiser(mask_phase(noisy, average, phase))
            mean = revisible_mean(at_phase(mean_m, phase), at_phase(mean_v, phase), lam)
            sigma_x = self._covariance(at_phase(factor_m, phase), at_phase(factor_v, phase), lam)
            variance = noise_variance(mean - black, noise, lam, self.enhanced)
            losses.append(adaptive_revisible(at_phase(noisy, phase), mean, sigma_x, variance, config.beta))
        return torch.stack(losses).mean()

    def _covariance(self, masked: Tensor, visible: Tensor, lam: float) -> Tensor:
        """Σ_x of the factors A of the two branches, (B, T, H, W) each."""
        if self.config.dependent:
            return covariance.outer_gram(revisible_mean(masked, visible, lam))
        return revisible_covariance(covariance.outer_gram(masked), covariance.outer_gram(visible), lam)

    def _risk(
        self, denoiser: Denoise, batch: Batch, noise: NoiseEstimate, lam: float, black: Tensor | float
    ) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """f(y), and L_risk: its squared error in units of the noise."""
        noisy = batch.noisy
        f = denoiser.exact  # a difference quotient needs every bit of float32
        visible: tuple[Tensor, Tensor] = f(noisy)
        slope = own_slope(lambda image: f(image)[0], noisy, visible[0], noise.alpha, batch.generator)
        sigma2 = read_variance(noise, lam, self.enhanced)
        variance = noise.alpha.view(-1, 1, 1, 1) * (noisy - black) + sigma2.view(-1, 1, 1, 1)
        return visible, unbiased_risk(noisy, visible[0], variance, slope).mean() / variance.mean()


def _given(config: ObjectiveConfig, noisy: Tensor) -> NoiseEstimate:
    """The configured noise, for every image."""
    ones = noisy.new_ones(len(noisy))
    variance = config.known_sigma**2 * ones
    return NoiseEstimate(config.known_alpha * ones, variance, variance)


def _known_noise(batch: Batch) -> tuple[Tensor, Tensor]:
    """α, σ² twice, (B, 3), and the level above which the signal lies, (B, 1, 1, 1), of the noise lines."""
    if batch.noise_lines is None:
        raise ValueError("an informed blind2sound must know the noise of each crop: give the batch noise_lines")
    line = batch.noise_lines.mean(1)  # (B, 4): one level an image, as in the paper
    alpha = line[:, 0].clamp_min(SMALLEST_ALPHA)
    variance = line[:, 1].clamp_min(SMALLEST_SIGMA**2)
    black = (-line[:, 1] / alpha).clamp_min(0)
    return torch.stack([alpha, variance, variance], 1), black.view(-1, 1, 1, 1)


def _noise_parts(noise: NoiseEstimate, lam: float, enhanced: bool) -> dict[str, float]:
    sigma2 = read_variance(noise, lam, enhanced)
    return {"alpha": noise.alpha.mean().item(), "sigma": sigma2.sqrt().mean().item()}
