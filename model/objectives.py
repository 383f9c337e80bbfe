"""Training objectives behind one seam: small callables from a batch to a loss and its parts.

Another method of the field (Neighbor2Neighbor, Noise2Void, …) is one more class here and one more line in `build`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from model import covariance, thinning
from model.config import ObjectiveConfig
from model.estimator import NoiseEstimate, NoiseEstimator
from model.losses import (
    CramerGaussian,
    adaptive_revisible,
    noise_variance,
    own_slope,
    read_variance,
    revisible_covariance,
    revisible_mean,
    unbiased_risk,
)
from model.masker import at_phase, draw_phases, mask_phase, neighbour_average
from model.networks import DenoiserNetwork


@dataclass(frozen=True)
class Batch:
    """What a step sees. `clean` is None for methods that learn from noisy images alone.

    Attributes:
        noisy: (B, C, H, W) in normalised units, never clipped.
        clean: (B, C, H, W) or None.
        progress: share of the training that is done, 0 … 1.
        generator: the step's own randomness.
        noise_lines: (B, C, 4), each crop's noise variance against its signal (`thinning.noise_variance`); only for
            objectives that must know the noise.
    """

    noisy: Tensor
    clean: Tensor | None
    progress: float
    generator: torch.Generator
    noise_lines: Tensor | None = None


class Objective(Protocol):
    """The seam: `needs_clean` says whether a batch must carry clean images."""

    needs_clean: bool

    def __call__(
        self, denoiser: DenoiserNetwork, estimator: NoiseEstimator | None, batch: Batch
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss to minimise and its parts by name, for the log."""
        ...


def visibility(progress: float, start: float, end: float, knee: float = 0.4) -> float:
    """λ: `start` until `knee` of the training, then linear to `end` (method.md §3: 3 → 11 from 40 %)."""
    return start + (end - start) * max(0.0, progress - knee) / (1 - knee)


@dataclass
class Blind2Sound:
    """L = L_arv + w·L_est, f and g trained jointly (Blind2Sound §3; method.md §3), and with `risk` L_risk (ours).

    The cost of a step with K phases is K trained passes and one visible pass; L_risk makes that one a trained one, too,
    and adds another.

    L_arv trains the masked branch: how far f(y) trusts a pixel's own y is left to what the shared weights happen to do
    there. L_risk is f(y)'s squared error as Stein's estimate tells it from y and the noise, so it trains just that. The
    noise is then g's by L_est alone: both likelihood and risk could be lowered by a noise that is wrong.
    """

    config: ObjectiveConfig
    needs_clean: bool = False
    regulariser: CramerGaussian = field(init=False)
    calls: int = 0

    def __post_init__(self) -> None:
        self.regulariser = CramerGaussian(stride=self.config.patch_stride)

    def __call__(
        self, denoiser: DenoiserNetwork, estimator: NoiseEstimator | None, batch: Batch
    ) -> tuple[Tensor, dict[str, float]]:
        if estimator is None:
            raise ValueError("blind2sound trains a noise estimator with the denoiser: give it one")
        config = self.config
        lam = visibility(batch.progress, config.visibility_start, config.visibility_end, config.visibility_knee)
        noise = estimator(batch.noisy)
        parts = {"lambda": lam}
        if config.risk:
            given = NoiseEstimate(*(part.detach() for part in noise))
            taught, risk = self._risk(denoiser, batch, given, lam)
            arv = self._likelihood(denoiser, batch, taught, given, lam)
            loss = arv + config.risk * risk
            parts["risk"] = risk.item()
        else:
            with torch.no_grad():
                visible = denoiser(batch.noisy)
            loss = arv = self._likelihood(denoiser, batch, visible, noise, lam)
        parts["arv"] = arv.item()
        if config.regulariser and self.calls % config.regulariser_every == 0:
            sigma2 = read_variance(noise, lam, config.enhanced_noise)
            est = self.regulariser(batch.noisy, noise.alpha, sigma2)
            loss = loss + config.regulariser * config.regulariser_every * est
            parts["est"] = est.item()
        self.calls += 1
        parts |= _noise_parts(noise, lam, config.enhanced_noise)
        return loss, parts

    def _likelihood(
        self, denoiser: DenoiserNetwork, batch: Batch, visible: tuple[Tensor, Tensor], noise: NoiseEstimate, lam: float
    ) -> Tensor:
        """L_arv, the mean over the drawn phases; `visible` is f(y), which gets no gradient."""
        config, noisy = self.config, batch.noisy
        mean_v, sigma_v = visible[0].detach(), covariance.outer_gram(visible[1].detach())
        average = neighbour_average(noisy)
        losses = []
        for phase in draw_phases(config.phases, batch.generator):
            mean_m, factor_m = denoiser(mask_phase(noisy, average, phase))
            sigma_m = covariance.outer_gram(at_phase(factor_m, phase))
            mean = revisible_mean(at_phase(mean_m, phase), at_phase(mean_v, phase), lam)
            sigma_x = revisible_covariance(sigma_m, at_phase(sigma_v, phase), lam)
            variance = noise_variance(mean, noise, lam, config.enhanced_noise)
            losses.append(adaptive_revisible(at_phase(noisy, phase), mean, sigma_x, variance, config.beta))
        return torch.stack(losses).mean()

    def _risk(
        self, denoiser: DenoiserNetwork, batch: Batch, noise: NoiseEstimate, lam: float
    ) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """f(y), and L_risk: its squared error in units of the noise."""
        noisy = batch.noisy
        with torch.autocast(noisy.device.type, enabled=False):  # a difference quotient needs every bit of float32
            visible = denoiser(noisy)
            slope = own_slope(lambda image: denoiser(image)[0], noisy, visible[0], noise.alpha, batch.generator)
        sigma2 = read_variance(noise, lam, self.config.enhanced_noise)
        variance = noise.alpha.view(-1, 1, 1, 1) * noisy + sigma2.view(-1, 1, 1, 1)
        return visible, unbiased_risk(noisy, visible[0], variance, slope).mean() / variance.mean()


@dataclass
class Blind2Unblind:
    """mean(d_m²) + mean((d_m + λ·d_v)²), d = output − y, λ 2 → 20 (Wang et al., CVPR 2022; method.md §6)."""

    config: ObjectiveConfig
    needs_clean: bool = False

    def __call__(
        self, denoiser: DenoiserNetwork, estimator: NoiseEstimator | None, batch: Batch
    ) -> tuple[Tensor, dict[str, float]]:
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


@dataclass
class NoiseToClean:
    """N2C, the supervised control: log-MSE of the mean, and the covariance matched to the error's second moments.

    The logarithm a crop weighs every noise level alike, which a blind model needs (its gradient is the mean PSNR's).
    The covariance learns by least squares from the detached error e: the minimum of |Σ_x − e·eᵀ|² is E[e·eᵀ | y]
    without bias, and unlike a likelihood it has no pole where the factor A crosses 0.
    """

    config: ObjectiveConfig
    needs_clean: bool = True
    FLOOR = 1e-5  # mean squared error below which a crop is good enough (50 dB)
    COVARIANCE_WEIGHT = 0.01

    def __call__(
        self, denoiser: DenoiserNetwork, estimator: NoiseEstimator | None, batch: Batch
    ) -> tuple[Tensor, dict[str, float]]:
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


@dataclass
class Thinning:
    """Learn from the noisy images alone by splitting each into two of independent noise (`thinning.thin`).

    For the pair (y₁, y₂), E|f(y₁) − y₂|² = E|f(y₁) − x|² + E|y₂ − x|²: the gradient is the supervised one, so it can
    continue the training of a supervised base. Blind2Sound's cannot: its visible branch carries no gradient, and a
    network that adds its output to y unlearns the denoising within 200 steps (DESIGN.md, 2026-11-22).
    """

    config: ObjectiveConfig
    needs_clean: bool = False
    COVARIANCE_WEIGHT = 0.01

    def __call__(
        self, denoiser: DenoiserNetwork, estimator: NoiseEstimator | None, batch: Batch
    ) -> tuple[Tensor, dict[str, float]]:
        if batch.noise_lines is None:
            raise ValueError("thinning must know the noise of each crop: give the batch noise_lines")
        pair = thinning.thin(batch.noisy, batch.noise_lines, thinning.TRAINING_TAU, batch.generator)
        mean, factor = denoiser(pair.first)
        scale = pair.variance.mean((1, 2, 3), keepdim=True).clamp_min(thinning.SMALLEST_VARIANCE)  # crops count alike
        fidelity = ((pair.second - mean) ** 2 / scale).mean()
        # The excess is what the mean is wrong by, without bias, so Σ_x learns it by least squares (as in n2c).
        spread = covariance.diagonal_of(covariance.outer_gram(factor))
        moments = (((spread - pair.excess(mean.detach())) / scale) ** 2).mean()
        return fidelity + self.COVARIANCE_WEIGHT * moments, {"thinned": fidelity.item(), "moments": moments.item()}


def build(config: ObjectiveConfig) -> Objective:
    """The objective that `config` names.

    Raises:
        ValueError: no objective of that name.
    """
    kinds: dict[str, type[Blind2Sound] | type[Blind2Unblind] | type[NoiseToClean] | type[Thinning]] = {
        "blind2sound": Blind2Sound,
        "blind2unblind": Blind2Unblind,
        "n2c": NoiseToClean,
        "thinning": Thinning,
    }
    if config.name not in kinds:
        raise ValueError(f"unknown objective {config.name!r}: choose one of {', '.join(kinds)}")
    return kinds[config.name](config)


def _noise_parts(noise: NoiseEstimate, lam: float, enhanced: bool) -> dict[str, float]:
    sigma2 = read_variance(noise, lam, enhanced)
    return {"alpha": noise.alpha.mean().item(), "sigma": sigma2.sqrt().mean().item()}
