"""How good a denoiser is on the held-out part of a noisy set, told without a clean image.

A held-out crop is split into two of independent noise (`thinning`): the mean of |f(y₁) − y₂|² less Var[y₂] is the
squared error of f(y₁), without bias. Two denoisers are compared on the same pairs, crop by crop. Crops never overlap,
what lies at one place of a file counts once, and the crops that chose a model are not those that judge it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
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
from model.split import SMALLEST_SIDE, Split

SIDES = (192, 160, 128, 96, 64, 32)  # of a crop; the largest is taken of which there are enough
ENOUGH = 32  # places: a third of them to choose the best step by, the others to judge
FEWEST = 8  # places, or files, that can tell a gain from chance
CHOOSING_CROPS = 24
JUDGING_CROPS = 64
PREVIEWS = 3
PHASES = (0, 5, 10, 15)  # of the masker, for the likelihood
SIGNIFICANT = 2.0  # standard errors by which a model must be better
SMALLEST_GAIN_DB = 0.05
SMALLEST_ERROR = 1e-8  # mean squared, normalised
# A better denoiser takes out what the noise line says there is. One whose residual is further from that than its base's
# is by more than this has learned from a line that does not fit the set, and its score cannot be trusted.
CONSISTENT = 0.05


@dataclass(frozen=True)
class Scores:
    """One denoiser on the held-out crops.

    Attributes:
        errors: estimated squared error of each crop over its noise variance; an estimate, so it may fall below 0.
        psnr: estimated PSNR in dB (peak 1, the normalised range) of the denoised y₁; higher is better.
        likelihoods: negative log-likelihood a value of each crop's masked pixels, under the posterior from the others.
        whiteness: lag-1 autocorrelation of the standardised residual of y; 0 is white.
        residual_std_ratio: std of the standardised residual; falls when noise is left in.
        clusters: which crops belong together and count once; None: each counts.
    """

    errors: NDArray[np.float64]
    likelihoods: NDArray[np.float64]
    psnr: float
    whiteness: float
    residual_std_ratio: float
    clusters: NDArray[np.int64] | None = None

    def to_dict(self) -> dict[str, float]:
        numbers = {k: getattr(self, k) for k in ("psnr", "whiteness", "residual_std_ratio")}
        numbers["masked_nll"] = float(self.likelihoods.mean())
        return {k: float(f"{v:.5g}") for k, v in numbers.items()}


class Place(NamedTuple):
    """A square of a file, the same on all of its pages.

    Attributes:
        pages: held-out images that it can be read from.
    """

    file: int
    rows: slice
    columns: slice
    pages: list[int]


class Crop(NamedTuple):
    """One held-out crop.

    Attributes:
        noisy: (1, C, H, W) in normalised units.
        line: (1, C, 4), its noise.
        image: the held-out image it is from.
    """

    noisy: Tensor
    line: Tensor
    image: int
    place: Place


@dataclass(frozen=True)
class Crops:
    """Crops that denoisers are compared on.

    Attributes:
        seed: of the thinning: the same pairs for every denoiser.
        level: added to every estimated error; see `levelled`.
    """

    crops: list[Crop]
    seed: int
    level: float = 0.0

    @torch.inference_mode()
    def levelled(self, base: DenoiserNetwork) -> Crops:
        """The same crops, with errors no lower than the base model's own posterior says that its error is.

        An estimated error is |f(y₁) − y₂|² less the noise line's variance, and where little is left of it a line that
        lies a little too high makes it negative. The difference between two denoisers does not depend on the line.
        """
        errors, posteriors = [], []
        for pair in self._pairs(base):
            mean, factor = base(pair.first)
            errors.append(float(pair.excess(mean).mean()))
            posteriors.append(float(covariance.diagonal_of(covariance.outer_gram(factor)).mean()))
        return replace(self, level=max(0.0, float(np.mean(posteriors) - np.mean(errors))))

    @torch.inference_mode()
    def psnr(self, network: DenoiserNetwork) -> float:
        """Estimated PSNR in dB."""
        return self._decibels([_excess(network, pair) for pair in self._pairs(network)])

    def _decibels(self, errors: Sequence[float]) -> float:
        return -10 * math.log10(max(float(np.mean(errors)) + self.level, SMALLEST_ERROR))

    @torch.inference_mode()
    def scores(self, network: DenoiserNetwork) -> Scores:
        """Everything about a denoiser."""
        excesses, relative, standardised, likelihood = [], [], [], []
        device = _device(network)
        for crop, pair in zip(self.crops, self._pairs(network), strict=True):
            noisy, lines = crop.noisy.to(device), crop.line.to(device)
            excess = _excess(network, pair)
            excesses.append(excess)
            relative.append(excess / max(float(pair.variance.mean()), thinning.SMALLEST_VARIANCE))
            mean = network(noisy)[0]
            spread = thinning.noise_variance(mean, lines).clamp_min(thinning.SMALLEST_VARIANCE)
            standardised.append(((noisy - mean) / spread.sqrt())[0].cpu().numpy())
            likelihood.append(_masked_nll(network, noisy, lines))
        ratio = float(np.sqrt(np.mean([np.mean(z.astype(np.float64) ** 2) for z in standardised])))
        return Scores(
            np.array(relative), np.array(likelihood), self._decibels(excesses),
            report.autocorrelation(standardised, 1), ratio, self.clusters(),
        )  # fmt: skip

    def clusters(self) -> NDArray[np.int64]:
        """A file counts once where there are enough of them, else a place of a file."""
        by_file = len({crop.place.file for crop in self.crops}) >= FEWEST
        keys = [(c.place.file, *(() if by_file else (c.place.rows.start, c.place.columns.start))) for c in self.crops]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        return np.array([numbers[key] for key in keys], np.int64)

    def _pairs(self, network: DenoiserNetwork) -> Iterable[thinning.Pair]:
        generator, device = torch.Generator().manual_seed(self.seed), _device(network)
        for crop in self.crops:
            yield thinning.thin(crop.noisy.to(device), crop.line.to(device), thinning.SCORING_TAU, generator)


class HeldOut:
    """The held-out part of a set, drawn once.

    Args:
        parts: of the set; of the held-out images only the crops are read.
        noise_line: (C, 4), the noise line of the image of an index in the set.
        base: the model that is to be beaten.

    Attributes:
        choosing: crops that the best step is chosen by.
        judging: crops of other places for the verdict; with few places the same ones, thinned anew.
        previews: crops (1, C, H, W) to look at.
    """

    def __init__(
        self,
        parts: Split,
        noise_line: Callable[[int], NDArray[np.float32]],
        scaling: Normalisation,
        seed: int,
        base: DenoiserNetwork,
    ) -> None:
        self._parts, self._line, self._scaling = parts, noise_line, scaling
        rng = np.random.default_rng((seed, 0x4E1D))
        places = _places(parts)
        places = [places[i] for i in rng.permutation(len(places))]
        first = len(places) // 3 if len(places) >= ENOUGH else 0
        self.choosing = self._draw(places[:first] or places, CHOOSING_CROPS, rng).levelled(base)
        self.judging = self._draw(places[first:], JUDGING_CROPS, rng).levelled(base)
        shown = parts.held_out[:PREVIEWS] * PREVIEWS  # a set may have fewer images
        self.previews = [torch.from_numpy(_window(image, scaling, rng))[None] for image in shown[:PREVIEWS]]

    def _draw(self, places: Sequence[Place], count: int, rng: np.random.Generator) -> Crops:
        """One page of each place, then another one of each, until there are `count` crops or no more pages."""
        decks = [(place, rng.permutation(place.pages)) for place in places[:count]]
        turns = range(max(len(pages) for _, pages in decks))
        drawn = ((place, int(pages[turn])) for turn in turns for place, pages in decks if turn < len(pages))
        return Crops([self._crop(*one) for one in islice(drawn, count)], int(rng.integers(1 << 62)))

    def _crop(self, place: Place, page: int) -> Crop:
        pixels = _padded(self._parts.held_out[page])[:, place.rows, place.columns]
        noisy = torch.from_numpy(np.ascontiguousarray(self._scaling.to_unit(pixels)))[None]
        line = torch.from_numpy(self._line(self._parts.held_out_indices[page]))[None]
        return Crop(noisy, line, page, place)


class Verdict(NamedTuple):
    """Whether a model is better than its base, with the reasons.

    Attributes:
        gain_db: of the estimated PSNR.
        certainty: the mean gain of the squared error over the clusters, in its standard errors.
        likelihood_certainty: the same of the masked likelihood.
        clusters: parts of the set that say so independently of each other; below `FEWEST` nothing is promoted.
    """

    gain_db: float
    certainty: float
    likelihood_certainty: float
    promoted: bool
    clusters: int


def judge(base: Scores, tuned: Scores) -> Verdict:
    """Better only if two witnesses say so, each by more than chance over the clusters, and by an amount that matters.

    The thinned error sees what the network does to visible pixels, but believes the noise line it was trained with: a
    line 10 % off is worth half a decibel of false praise. The masked likelihood sees masked pixels alone, and no wrong
    line can flatter it.
    """
    errors = _means(base.errors - tuned.errors, base.clusters)
    certainty = _certainty(errors)
    likelihood = _certainty(_means(base.likelihoods - tuned.likelihoods, base.clusters))
    gain_db = tuned.psnr - base.psnr
    steady = abs(tuned.residual_std_ratio - 1) <= abs(base.residual_std_ratio - 1) + CONSISTENT
    sure = errors.size >= FEWEST and min(certainty, likelihood) > SIGNIFICANT
    promoted = bool(sure and steady and gain_db >= SMALLEST_GAIN_DB)
    return Verdict(gain_db, certainty, likelihood, promoted, errors.size)


def _means(gains: NDArray[np.float64], clusters: NDArray[np.int64] | None) -> NDArray[np.float64]:
    """The mean of each cluster."""
    if clusters is None:
        return gains
    means: NDArray[np.float64] = np.bincount(clusters, gains) / np.bincount(clusters)
    return means


def _certainty(gains: NDArray[np.float64]) -> float:
    """The mean gain in its standard errors.

    The error is itself estimated, from few clusters badly: Student's t is told as the normal value of the same
    probability (Wallace, "Bounds on normal approximations to Student's and the chi-square distributions", 1959).
    """
    freedom = gains.size - 1
    if freedom < 1:
        return 0.0
    error = float(gains.std(ddof=1)) / math.sqrt(gains.size)
    t = float(gains.mean()) / max(error, 1e-12)
    shrink = (8 * freedom + 1) / (8 * freedom + 3)
    return math.copysign(shrink * math.sqrt(freedom * math.log1p(t * t / freedom)), t)


def _device(network: DenoiserNetwork) -> torch.device:
    return next(network.parameters()).device


def _places(parts: Split) -> list[Place]:
    """A grid over each file's held-out part, of the largest squares of which there are enough."""
    sizes: dict[tuple[int, int, int], list[int]] = {}  # pages of one size lie on each other
    for page, (image, file) in enumerate(zip(parts.held_out, parts.held_out_files, strict=True)):
        height, width = (max(side, SMALLEST_SIDE) for side in image.shape[1:])
        sizes.setdefault((file, height, width), []).append(page)
    for side in SIDES:
        places = [place for size, pages in sizes.items() for place in _grid(*size, side, pages)]
        if len(places) >= ENOUGH:
            break
    return places


def _grid(file: int, height: int, width: int, side: int, pages: list[int]) -> list[Place]:
    """Squares beside each other; where one side is too short, rectangles as high or wide as networks can take."""
    tall, wide = (min(side, length // SMALLEST_SIDE * SMALLEST_SIDE) for length in (height, width))
    return [
        Place(file, slice(top, top + tall), slice(left, left + wide), pages)
        for top in range(0, height - tall + 1, tall)
        for left in range(0, width - wide + 1, wide)
    ]


def _padded(image: Pixels) -> Pixels:
    """At least `SMALLEST_SIDE` a side: small images are reflected."""
    short = [(0, 0), *((0, max(0, SMALLEST_SIDE - side)) for side in image.shape[1:])]
    return np.pad(image, short, mode="symmetric") if any(b for _, b in short) else image


def _window(image: Pixels, scaling: Normalisation, rng: np.random.Generator) -> NDArray[np.float32]:
    """A random part of at most the largest of `SIDES`."""
    padded = _padded(image)
    height, width = (min(SIDES[0], side // SMALLEST_SIDE * SMALLEST_SIDE) for side in padded.shape[1:])
    top, left = rng.integers(padded.shape[1] - height + 1), rng.integers(padded.shape[2] - width + 1)
    return np.ascontiguousarray(scaling.to_unit(padded[:, top : top + height, left : left + width]))


def _excess(network: DenoiserNetwork, pair: thinning.Pair) -> float:
    return float(pair.excess(network(pair.first)[0]).mean())


def _masked_nll(network: Callable[[Tensor], tuple[Tensor, Tensor]], noisy: Tensor, lines: Tensor) -> float:
    """½·rᵀΣ_y⁻¹r + ½·log det Σ_y a channel, at the masked pixels of some phases (method.md §3 with λ = 0)."""
    average, terms = neighbour_average(noisy), []
    for phase in PHASES:
        mean, factor = network(mask_phase(noisy, average, phase))
        noise = thinning.noise_variance(mean, lines).clamp_min(thinning.SMALLEST_VARIANCE)
        sigma_y = covariance.add_diagonal(covariance.outer_gram(factor), noise)
        terms.append(covariance.gaussian_nll(at_phase(noisy - mean, phase), at_phase(sigma_y, phase)).mean())
    return float(torch.stack(terms).mean()) / noisy.shape[1]
