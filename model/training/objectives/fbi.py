"""FBI-Denoiser (Byun, Cha, Moon, CVPR 2021): stabilise by the estimated noise; an unbiased risk at a blind spot."""

from __future__ import annotations

import torch
from torch import Tensor

from model.config import ObjectiveConfig
from model.networks import covariance
from model.networks.estimator import NoiseEstimate, NoiseEstimator
from model.networks.unets import Denoise
from model.training.losses import CramerGaussian, generalised_anscombe
from model.training.masker import at_phase, draw_phases, mask_phase, neighbour_average
from model.training.objectives.base import Batch, Objective
from model.training.objectives.blind_spot import blind_spot

WHITE = 1.0


class FBIDenoiser(Objective):
    """PGE-Net and FBI-Net in one step: g by the stabilised image's noise, f by |z − (a·z + b)|² + 2·a·s² − s².

    f sees z, the image after the generalised Anscombe transform, scaled to 0 … 1, where the noise's variance s² is
    known. a and b come from the blind spot, so the risk is unbiased (Neural AIDE, Cha and Moon, ICASSP 2018); b is the
    network's mean, a the diagonal of its factor. The answer a·z + b goes back by the closed form of the exact unbiased
    inverse (Mäkitalo and Foi, IEEE TIP 22(1), 2013).
    """

    def __init__(self, config: ObjectiveConfig, channels: int) -> None:
        super().__init__(config, channels)
        self.g = NoiseEstimator(config.estimator, channels)
        self.lr_ratio = config.estimator.lr_ratio
        self.estimation = CramerGaussian(stride=config.patch_stride)

    def forward(self, denoiser: Denoise, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        noise: NoiseEstimate = self.g(batch.noisy)
        known = NoiseEstimate(*(part.detach() for part in noise))
        stabilised = Stabilised.of(batch.noisy, known)
        average = neighbour_average(stabilised.image)
        terms = []
        for phase in draw_phases(self.config.phases, batch.generator):
            offset, factor = denoiser(mask_phase(stabilised.image, average, phase))
            slope = covariance.diagonal_of(factor)
            z = at_phase(stabilised.image, phase)
            terms.append(affine_risk(z, at_phase(slope, phase), at_phase(offset, phase), stabilised.variance).mean())
        risk = torch.stack(terms).mean()
        loss = risk
        parts = {"risk": risk.item(), "alpha": known.alpha.mean().item()}
        parts["sigma"] = known.variance_masked.sqrt().mean().item()
        if batch.step % self.config.regulariser_every == 0:
            estimation = self.estimation(batch.noisy, noise.alpha, noise.variance_masked)
            loss = loss + self.config.regulariser * estimation
            parts["est"] = estimation.item()
        return loss, parts

    def restore(self, denoiser: Denoise, noisy: Tensor) -> Tensor:
        """a·z + b at the blind spot, taken back to the image's units."""
        stabilised = Stabilised.of(noisy, self.g(noisy))
        offset, factor = blind_spot(denoiser, stabilised.image)
        return stabilised.back(covariance.diagonal_of(factor) * stabilised.image + offset)


class Stabilised:
    """An image after the generalised Anscombe transform, 0 of the file at 0 and 1 at 1."""

    def __init__(self, image: Tensor, noise: NoiseEstimate, low: Tensor, span: Tensor) -> None:
        self.image = image
        self.variance = (WHITE / span) ** 2  # (B, 1, 1, 1)
        self._noise, self._low, self._span = noise, low, span

    @classmethod
    def of(cls, noisy: Tensor, noise: NoiseEstimate) -> Stabilised:
        """Of (B, C, H, W) in normalised units and its noise, (B,) each."""
        shape = (-1, 1, 1, 1)
        ends = [
            generalised_anscombe(torch.full_like(noise.alpha, end).view(shape), noise.alpha, noise.variance_masked)
            for end in (0.0, 1.0)
        ]
        span = ends[1] - ends[0]
        stabilised = generalised_anscombe(noisy, noise.alpha, noise.variance_masked)
        return cls((stabilised - ends[0]) / span, noise, ends[0], span)

    def back(self, image: Tensor) -> Tensor:
        """In normalised units again, without the bias that the inverse function alone would have."""
        shape = (-1, 1, 1, 1)
        alpha, variance = self._noise.alpha.view(shape), self._noise.variance_masked.view(shape)
        return exact_unbiased_inverse(image * self._span + self._low, variance / alpha**2) * alpha


def affine_risk(z: Tensor, slope: Tensor, offset: Tensor, variance: Tensor) -> Tensor:
    """Expected (a·z + b − E[z])² without E[z], where a and b do not depend on z: (z − a·z − b)² + 2·a·s² − s²."""
    return (z - slope * z - offset) ** 2 + 2 * slope * variance - variance


def exact_unbiased_inverse(stabilised: Tensor, variance: Tensor) -> Tensor:
    """Closed form of the inverse that makes E[G(y)] the photons x/α again; `variance` is (σ/α)².

    Mäkitalo and Foi 2013; below the transform of no light the answer is 0.
    """
    d = stabilised.clamp_min(2 * (0.375**0.5))
    root = 1.5**0.5
    photons: Tensor = d**2 / 4 + root / 4 / d - 11 / 8 / d**2 + 5 / 8 * root / d**3 - 1 / 8 - variance
    return photons.clamp_min(0)
