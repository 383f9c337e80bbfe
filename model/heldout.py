"""The held-out part of a noisy set, and how good a denoiser is on it, told without a clean image.

A held-out crop is split into two of independent noise (`thinning`): the mean of |f(y₁) − y₂|² less Var[y₂] is the
squared error of f(y₁), without bias. Two denoisers are compared on the same pairs, crop by crop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model import covariance, report, thinning
from model.data import Pixels
from model.masker import at_phase, mask_phase, neighbour_average
from model.networks import DenoiserNetwork
from model.normalise import Normalisation

WHOLE_IMAGES_FROM = 8  # a smaller set gives a strip of each image instead
SHARE = 5  # one image in so many, or one row in so many, is held out
MOST_IMAGES = 32
SIDE = 192
SMALLEST_SIDE = 16
CROPS = 64
PHASES = (0, 5, 10, 15)  # of the masker, for the likelihood
SIGNIFICANT = 2.0  # standard errors by which a model must be better
SMALLEST_GAIN_DB = 0.05
# A better denoiser takes out what the noise line says there is. One whose residual is further from that than its base's
# is by more than this has learned from a line that does not fit the set, and its score cannot be trusted.
CONSISTENT = 0.05


class Split(NamedTuple):
    """Images to train on, the held-out ones, and each held-out one's index in the set."""

    training: list[Pixels]
    training_indices: list[int]
    held_out: list[Pixels]
    held_out_indices: list[int]


def split(images: Sequence[Pixels], seed: int) -> Split:
    """Hold out whole images where there are enough, else the lowest rows of each. Views, no copies.

    Args:
        images: (C, H, W) each.
    """
    count = len(images)
    if count >= WHOLE_IMAGES_FROM:
        order = np.random.default_rng((seed, 0x5B117)).permutation(count).tolist()
        size = min(MOST_IMAGES, max(2, count // SHARE))
        held, kept = sorted(order[:size]), sorted(order[size:])
        return Split([images[i] for i in kept], kept, [images[i] for i in held], held)
    everything = list(range(count))
    cuts = [image.shape[1] - max(SMALLEST_SIDE, image.shape[1] // SHARE) for image in images]
    return Split(
        [image[:, :cut] for image, cut in zip(images, cuts, strict=True)], everything,
        [image[:, cut:] for image, cut in zip(images, cuts, strict=True)], everything,
    )  # fmt: skip


@dataclass(frozen=True)
class Scores:
    """One denoiser on the held-out crops.

    Attributes:
        errors: estimated squared error of each crop over its noise variance; an estimate, so it may fall below 0.
        psnr: estimated PSNR in dB (peak 1, the normalised range) of the denoised y₁; higher is better.
        likelihoods: negative log-likelihood a value of each crop's masked pixels, under the posterior from the others.
        whiteness: lag-1 autocorrelation of the standardised residual of y; 0 is white.
        residual_std_ratio: std of the standardised residual; falls when noise is left in.
    """

    errors: NDArray[np.float64]
    likelihoods: NDArray[np.float64]
    psnr: float
    whiteness: float
    residual_std_ratio: float

    def to_dict(self) -> dict[str, float]:
        numbers = {k: getattr(self, k) for k in ("psnr", "whiteness", "residual_std_ratio")}
        numbers["masked_nll"] = float(self.likelihoods.mean())
        return {k: float(f"{v:.5g}") for k, v in numbers.items()}


class HeldOut:
    """Crops of the held-out images, drawn once.

    Args:
        images: (C, H, W) each; only the crops are read.
        lines: noise line (C, 4) of each image.
        count: crops, over all images in turn.
    """

    def __init__(
        self,
        images: Sequence[Pixels],
        lines: Sequence[NDArray[np.float32]],
        scaling: Normalisation,
        seed: int,
        count: int = CROPS,
    ) -> None:
        rng = np.random.default_rng((seed, 0x4E1D))
        self.seed = seed
        self.crops = [
            (torch.from_numpy(_crop(images[i], scaling, rng))[None], torch.from_numpy(lines[i])[None])
            for i in (k % len(images) for k in range(max(count, len(images))))
        ]

    @torch.inference_mode()
    def psnr(self, network: DenoiserNetwork, count: int) -> float:
        """Estimated PSNR in dB on the first `count` crops."""
        return _decibels([_excess(network, pair) for pair in self._pairs(network, count)])

    @torch.inference_mode()
    def scores(self, network: DenoiserNetwork) -> Scores:
        """Everything about a denoiser on all crops."""
        excesses, relative, standardised, likelihood = [], [], [], []
        device, pairs = _device(network), self._pairs(network, len(self.crops))
        for (crop, line), pair in zip(self.crops, pairs, strict=True):
            noisy, lines = crop.to(device), line.to(device)
            excess = _excess(network, pair)
            excesses.append(excess)
            relative.append(excess / max(float(pair.variance.mean()), thinning.SMALLEST_VARIANCE))
            mean = network(noisy)[0]
            spread = thinning.noise_variance(mean, lines).clamp_min(thinning.SMALLEST_VARIANCE)
            standardised.append(((noisy - mean) / spread.sqrt())[0].cpu().numpy())
            likelihood.append(_masked_nll(network, noisy, lines))
        ratio = float(np.sqrt(np.mean([np.mean(z.astype(np.float64) ** 2) for z in standardised])))
        return Scores(
            np.array(relative), np.array(likelihood), _decibels(excesses),
            report.autocorrelation(standardised, 1), ratio,
        )  # fmt: skip

    def _pairs(self, network: DenoiserNetwork, count: int) -> list[thinning.Pair]:
        generator = torch.Generator().manual_seed(self.seed)  # the same pairs for every denoiser
        device = _device(network)
        return [
            thinning.thin(crop.to(device), line.to(device), thinning.SCORING_TAU, generator)
            for crop, line in self.crops[:count]
        ]


class Verdict(NamedTuple):
    """Whether a model is better than its base, with the reasons.

    Attributes:
        gain_db: of the estimated PSNR.
        certainty: the mean gain of the squared error over the crops, in its standard errors.
        likelihood_certainty: the same of the masked likelihood.
    """

    gain_db: float
    certainty: float
    likelihood_certainty: float
    promoted: bool


def judge(base: Scores, tuned: Scores) -> Verdict:
    """Better only if two witnesses say so, each by more than chance over the crops, and by an amount that matters.

    The thinned error sees what the network does to visible pixels, but believes the noise line it was trained with: a
    line 10 % off is worth half a decibel of false praise. The masked likelihood sees masked pixels alone, and no wrong
    line can flatter it.
    """
    certainty = _certainty(base.errors - tuned.errors)
    likelihood = _certainty(base.likelihoods - tuned.likelihoods)
    gain_db = tuned.psnr - base.psnr
    steady = abs(tuned.residual_std_ratio - 1) <= abs(base.residual_std_ratio - 1) + CONSISTENT
    sure = min(certainty, likelihood) > SIGNIFICANT
    return Verdict(gain_db, certainty, likelihood, bool(sure and steady and gain_db >= SMALLEST_GAIN_DB))


def _certainty(gains: NDArray[np.float64]) -> float:
    """The mean gain in its standard errors."""
    error = float(gains.std(ddof=1)) / math.sqrt(gains.size) if gains.size > 1 else math.inf
    return float(gains.mean()) / max(error, 1e-12)


def _device(network: DenoiserNetwork) -> torch.device:
    return next(network.parameters()).device


def _crop(image: Pixels, scaling: Normalisation, rng: np.random.Generator) -> NDArray[np.float32]:
    """A crop of at most `SIDE` with sides that every network's stride divides; small images are reflected."""
    short = [(0, 0), *((0, max(0, SMALLEST_SIDE - side)) for side in image.shape[1:])]
    padded = np.pad(image, short, mode="symmetric") if any(b for _, b in short) else image
    height, width = (min(SIDE, side // SMALLEST_SIDE * SMALLEST_SIDE) for side in padded.shape[1:])
    top, left = rng.integers(padded.shape[1] - height + 1), rng.integers(padded.shape[2] - width + 1)
    return np.ascontiguousarray(scaling.to_unit(padded[:, top : top + height, left : left + width]))


def _excess(network: DenoiserNetwork, pair: thinning.Pair) -> float:
    return float(pair.excess(network(pair.first)[0]).mean())


def _decibels(errors: Sequence[float]) -> float:
    return -10 * math.log10(max(float(np.mean(errors)), 1e-8))


def _masked_nll(network: Callable[[Tensor], tuple[Tensor, Tensor]], noisy: Tensor, lines: Tensor) -> float:
    """½·rᵀΣ_y⁻¹r + ½·log det Σ_y a channel, at the masked pixels of some phases (method.md §3 with λ = 0)."""
    average, terms = neighbour_average(noisy), []
    for phase in PHASES:
        mean, factor = network(mask_phase(noisy, average, phase))
        noise = thinning.noise_variance(mean, lines).clamp_min(thinning.SMALLEST_VARIANCE)
        sigma_y = covariance.add_diagonal(covariance.outer_gram(factor), noise)
        terms.append(covariance.gaussian_nll(at_phase(noisy - mean, phase), at_phase(sigma_y, phase)).mean())
    return float(torch.stack(terms).mean()) / noisy.shape[1]
