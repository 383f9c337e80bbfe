"""The product's own objectives, and the table of all: small modules from a batch to a loss and its parts.

Another method of the field is one more file in `peers/` and one more line in `OBJECTIVES`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.config import ObjectiveConfig
from model.finetuning import thinning
from model.frames.errors import FrameErrors
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
from model.training.objective import Batch, Objective, visibility
from model.training.peers.fbi import FBIDenoiser
from model.training.peers.laine19 import Laine19
from model.training.peers.neighbor2neighbor import Neighbor2Neighbor
from model.training.peers.noise2noise import Noise2Noise
from model.training.peers.noise2self import Noise2Self
from model.training.peers.noise2void import Noise2Void

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
        self.regulariser = CramerGaussian(stride=config.patch_stride)

    def forward(self, denoiser: Denoise, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        config = self.config
        lam = visibility(batch.progress, config.visibility_start, config.visibility_end, config.visibility_knee)
        start, black = _known_noise(batch) if config.informed else (None, 0.0)
        noise: NoiseEstimate = self.g(batch.noisy, start)
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
        if config.regulariser and batch.step % config.regulariser_every == 0:
            sigma2 = read_variance(noise, lam, config.enhanced_noise)
            est = self.regulariser(batch.noisy - black, noise.alpha, sigma2)
            loss = loss + config.regulariser * config.regulariser_every * est
            parts["est"] = est.item()
        parts |= _noise_parts(noise, lam, config.enhanced_noise)
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
        mean_v, sigma_v = visible[0].detach(), covariance.outer_gram(visible[1].detach())
        average = neighbour_average(noisy)
        losses = []
        for phase in draw_phases(config.phases, batch.generator):
            mean_m, factor_m = denoiser(mask_phase(noisy, average, phase))
            sigma_m = covariance.outer_gram(at_phase(factor_m, phase))
            mean = revisible_mean(at_phase(mean_m, phase), at_phase(mean_v, phase), lam)
            sigma_x = revisible_covariance(sigma_m, at_phase(sigma_v, phase), lam)
            variance = noise_variance(mean - black, noise, lam, config.enhanced_noise)
            losses.append(adaptive_revisible(at_phase(noisy, phase), mean, sigma_x, variance, config.beta))
        return torch.stack(losses).mean()

    def _risk(
        self, denoiser: Denoise, batch: Batch, noise: NoiseEstimate, lam: float, black: Tensor | float
    ) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """f(y), and L_risk: its squared error in units of the noise."""
        noisy = batch.noisy
        f = denoiser.exact  # a difference quotient needs every bit of float32
        visible: tuple[Tensor, Tensor] = f(noisy)
        slope = own_slope(lambda image: f(image)[0], noisy, visible[0], noise.alpha, batch.generator)
        sigma2 = read_variance(noise, lam, self.config.enhanced_noise)
        variance = noise.alpha.view(-1, 1, 1, 1) * (noisy - black) + sigma2.view(-1, 1, 1, 1)
        return visible, unbiased_risk(noisy, visible[0], variance, slope).mean() / variance.mean()


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


class NoiseToClean(Objective):
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


class Thinning(Objective):
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


OBJECTIVES: dict[str, type[Objective]] = {
    "blind2sound": Blind2Sound,
    "blind2unblind": Blind2Unblind,
    "n2c": NoiseToClean,
    "thinning": Thinning,
    "frames": FramePairs,
    "n2n": Noise2Noise,
    "noise2void": Noise2Void,
    "noise2self": Noise2Self,
    "neighbor2neighbor": Neighbor2Neighbor,
    "laine19": Laine19,
    "fbi": FBIDenoiser,
}


def build(config: ObjectiveConfig, channels: int) -> Objective:
    """The objective that `config` names, for images of `channels` channels.

    Raises:
        ValueError: no objective of that name.
    """
    if config.name not in OBJECTIVES:
        raise ValueError(f"unknown objective {config.name!r}: choose one of {', '.join(OBJECTIVES)}")
    return OBJECTIVES[config.name](config, channels)


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
