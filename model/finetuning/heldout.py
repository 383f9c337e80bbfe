"""How good a denoiser is on the held-out part of a noisy set, told without a clean image.

A held-out crop is split into two of independent noise (`thinning`): the mean of |f(y₁) − y₂|² less Var[y₂] is the
squared error of f(y₁), without bias. Two denoisers are compared on the same pairs, crop by crop. Crops never overlap,
what lies at one place of a file counts once, and the crops that chose a model are not those that judge it.

Where frames belong together, a frame is predicted and two others, moved onto it, are compared with: their noise is
independent whatever it looks like within a frame, so no noise line is believed and no neighbour tells (`frames`).
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

from model.arrays.normalise import Normalisation
from model.arrays.pixels import Pixels
from model.finetuning.masked_likelihood import masked_nll
from model.finetuning.noise_shape import NoiseShape
from model.finetuning.split import SMALLEST_SIDE, Split
from model.frames.errors import FrameErrors, FramePair
from model.frames.windows import Frames
from model.networks import covariance
from model.networks.unets import DenoiserNetwork
from model.noise import thinning
from model.report import report

SIDES = (192, 160, 128, 96, 64, 32)  # of a crop; the largest is taken of which there are enough
ENOUGH = 32  # places: a third of them to choose the best step by, the others to judge
FEWEST = 8  # places, or files, that can tell a gain from chance
CHOOSING_CROPS = 24
JUDGING_CROPS = 64
PREVIEWS = 3
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
        by_frames: whether other frames were compared with, so that no noise line had to be believed.
        possible: whether the estimated squared error is above 0. One below says that the noise was taken for another
            one than it is, and nothing of how good the denoiser is.
    """

    errors: NDArray[np.float64]
    likelihoods: NDArray[np.float64]
    psnr: float
    whiteness: float
    residual_std_ratio: float
    clusters: NDArray[np.int64] | None = None
    by_frames: bool = False
    possible: bool = True

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
        noisy: (1, C, H, W) in normalised units; (1, n·C, H, W) with the neighbours that a network sees.
        line: (1, C, 4), its noise.
        image: the held-out image it is from.
        targets: (1, 2·C, H, W), the same scene in two other frames; None: it is split in two instead.
    """

    noisy: Tensor
    line: Tensor
    image: int
    place: Place
    targets: Tensor | None = None


@dataclass(frozen=True)
class Crops:
    """Crops that denoisers are compared on.

    Attributes:
        seed: of the thinning: the same pairs for every denoiser.
        level: added to every estimated error; see `levelled`.
        shape: of noise that neighbours share; None: it is independent.
    """

    crops: list[Crop]
    seed: int
    level: float = 0.0
    shape: NoiseShape | None = None

    @torch.inference_mode()
    def levelled(self, base: DenoiserNetwork) -> Crops:
        """The same crops, with errors no lower than the base model's own posterior says that its error is.

        An estimated error is |f(y₁) − y₂|² less the noise line's variance, and where little is left of it a line that
        lies a little too high makes it negative. The difference between two denoisers does not depend on the line.
        """
        errors, posteriors = [], []
        for pair in self._pairs(base):
            mean, factor = base(pair.seen)
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
            mean, factor = network(noisy)
            spread = thinning.variance_at(mean, lines).clamp_min(thinning.SMALLEST_VARIANCE)
            standardised.append(((noisy[:, : mean.shape[1]] - mean) / spread.sqrt())[0].cpu().numpy())
            if crop.targets is None:
                reach = 0 if self.shape is None else self.shape.blind_reach
                likelihood.append(masked_nll(network, noisy, lines, reach))
            else:
                likelihood.append(_other_frames_nll(mean, factor, spread, crop.targets.to(device)))
        ratio = float(np.sqrt(np.mean([np.mean(z.astype(np.float64) ** 2) for z in standardised])))
        return Scores(
            np.array(relative), np.array(likelihood), self._decibels(excesses),
            report.autocorrelation(standardised, 1), ratio, self.clusters(), self.by_frames,
            self.by_frames or float(np.mean(excesses)) + self.level > 0,
        )  # fmt: skip

    @property
    def by_frames(self) -> bool:
        """Whether other frames are what is compared with."""
        return all(crop.targets is not None for crop in self.crops)

    def clusters(self) -> NDArray[np.int64]:
        """A file counts once where there are enough of them, else a place of a file."""
        by_file = len({crop.place.file for crop in self.crops}) >= FEWEST
        keys = [(c.place.file, *(() if by_file else (c.place.rows.start, c.place.columns.start))) for c in self.crops]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        return np.array([numbers[key] for key in keys], np.int64)

    def _pairs(self, network: DenoiserNetwork) -> Iterable[thinning.Pair | FramePair]:
        generator, device = torch.Generator().manual_seed(self.seed), _device(network)
        filters = None if self.shape is None else self.shape.filters
        for crop in self.crops:
            noisy, line = crop.noisy.to(device), crop.line.to(device)
            if crop.targets is None:
                yield thinning.thin(noisy, line, thinning.SCORING_TAU, generator, filters)
            else:
                yield FramePair(noisy, crop.targets.to(device), thinning.variance_at(noisy[:, : line.shape[1]], line))


class HeldOut:
    """The held-out part of a set, drawn once.

    Args:
        parts: of the set; of the held-out images only the crops are read.
        noise_line: (C, 4), the noise line of the image of an index in the set.
        base: the model that is to be beaten.
        frames: the held-out images with their frames; None: each is by itself.
        shape: of noise that neighbours share; None: it is independent.

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
        frames: Frames | None = None,
        shape: NoiseShape | None = None,
    ) -> None:
        self._shape = shape
        self._parts, self._line, self._scaling, self._frames = parts, noise_line, scaling, frames
        rng = np.random.default_rng((seed, 0x4E1D))
        places = _places(parts)
        if frames is not None and frames.motions is not None:
            places = _with_targets(places, frames)
        places = [places[i] for i in rng.permutation(len(places))]
        first = len(places) // 3 if len(places) >= ENOUGH else 0
        self.choosing = self._draw(places[:first] or places, CHOOSING_CROPS, rng).levelled(base)
        self.judging = self._draw(places[first:], JUDGING_CROPS, rng).levelled(base)
        shown = list(range(len(parts.held_out)))[:PREVIEWS] * PREVIEWS  # a set may have fewer images
        self.previews = [torch.from_numpy(self._preview(page, rng))[None] for page in shown[:PREVIEWS]]

    def _preview(self, page: int, rng: np.random.Generator) -> NDArray[np.float32]:
        image = self._parts.held_out[page]
        if self._frames is None:
            return _window(image, self._scaling, rng)
        return self._frames.window(page, *_some_window(image.shape[1:], rng))

    def _draw(self, places: Sequence[Place], count: int, rng: np.random.Generator) -> Crops:
        """One page of each place, then another one of each, until there are `count` crops or no more pages."""
        decks = [(place, rng.permutation(place.pages)) for place in places[:count]]
        turns = range(max(len(pages) for _, pages in decks))
        drawn = ((place, int(pages[turn])) for turn in turns for place, pages in decks if turn < len(pages))
        return Crops([self._crop(*one) for one in islice(drawn, count)], int(rng.integers(1 << 62)), shape=self._shape)

    def _crop(self, place: Place, page: int) -> Crop:
        if self._frames is not None:
            return self._framed(place, page)
        pixels = _padded(self._parts.held_out[page])[:, place.rows, place.columns]
        noisy = torch.from_numpy(np.ascontiguousarray(self._scaling.to_unit(pixels)))[None]
        line = torch.from_numpy(self._line(self._parts.held_out_indices[page]))[None]
        return Crop(noisy, line, page, place)

    def _framed(self, place: Place, page: int) -> Crop:
        assert self._frames is not None
        at = page, place.rows, place.columns
        noisy = torch.from_numpy(self._frames.window(*at))[None]
        line = torch.from_numpy(self._line(self._parts.held_out_indices[page]))[None]
        targets = None if self._frames.motions is None else torch.from_numpy(self._frames.targets(*at))[None]
        return Crop(noisy, line, page, place, targets)


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
    line can flatter it. Where other frames are compared with, the likelihood is theirs, and no line is believed.
    """
    errors = _means(base.errors - tuned.errors, base.clusters)
    certainty = _certainty(errors)
    likelihood = _certainty(_means(base.likelihoods - tuned.likelihoods, base.clusters))
    gain_db = tuned.psnr - base.psnr
    steady = tuned.by_frames or abs(tuned.residual_std_ratio - 1) <= abs(base.residual_std_ratio - 1) + CONSISTENT
    sure = errors.size >= FEWEST and min(certainty, likelihood) > SIGNIFICANT
    promoted = bool(sure and steady and tuned.possible and gain_db >= SMALLEST_GAIN_DB)
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
    rows, columns = _some_window(padded.shape[1:], rng)
    return np.ascontiguousarray(scaling.to_unit(padded[:, rows, columns]))


def _some_window(shape: Sequence[int], rng: np.random.Generator) -> tuple[slice, slice]:
    sides = [min(SIDES[0], side // SMALLEST_SIDE * SMALLEST_SIDE) for side in shape]
    top, left = (int(rng.integers(of - side + 1)) for of, side in zip(shape, sides, strict=True))
    return slice(top, top + sides[0]), slice(left, left + sides[1])


def _with_targets(places: Sequence[Place], frames: Frames) -> list[Place]:
    """The places with those of their pages alone that have a target on either side; all, if none has."""
    both = set(frames.targeted(both=True)) or set(frames.targeted())
    kept = [place._replace(pages=[page for page in place.pages if page in both]) for place in places]
    return [place for place in kept if place.pages]


def _excess(network: DenoiserNetwork, pair: thinning.Pair | FramePair) -> float:
    return float(pair.excess(network(pair.seen)[0]).mean())


def _other_frames_nll(mean: Tensor, factor: Tensor, noise: Tensor, targets: Tensor) -> float:
    """½·r²/Σ_y + ½·log Σ_y a value of the other frames, each pixel and channel by itself."""
    errors = FrameErrors.of(mean, targets)
    sigma_y = covariance.diagonal_of(covariance.outer_gram(factor)) + noise
    terms = (errors.squares / sigma_y + sigma_y.log())[errors.shown]
    return float(terms.mean()) / 2 if terms.numel() else 0.0
