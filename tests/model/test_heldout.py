"""The verdict's statistics: crops do not overlap, errors mean what they say, what chose a model does not judge it."""

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.arrays.normalise import Normalisation
from model.arrays.pixels import Pixels
from model.finetuning import outcome
from model.finetuning.heldout import ENOUGH, FEWEST, Crops, HeldOut, Scores, judge
from model.finetuning.split import split
from model.inference.denoiser import Denoiser
from model.networks.unets import DenoiserNetwork
from model.noise.poisson_gaussian import PoissonGaussian

LEVEL = PoissonGaussian(0.05, 0.03)
LINE = np.array([[0.05, 0.03**2, 1e-4, 0.0]], np.float32)


def textures(count: int, seed: int, height: int = 96, width: int = 96) -> list[Pixels]:
    """Noisy blocks of several sizes: alike everywhere, so that a gain at one place says something of all."""
    rng = np.random.default_rng(seed)
    sizes = [(4, 4), (8, 8), (16, 16)]
    clean = sum(
        np.kron(rng.random((count, 1, height // a, width // b)), np.ones((1, 1, a, b))) / len(sizes) for a, b in sizes
    )
    return list(LEVEL.add(np.asarray(clean, np.float32), rng))


def held_out(
    images: Sequence[Pixels], seed: int = 0, groups: Sequence[int] | None = None, line: np.ndarray = LINE
) -> HeldOut:
    base = Denoiser.load("base-gray", device="cpu").network
    return HeldOut(split(images, seed, groups), lambda _: line, Normalisation(0.0, 1.0), seed, base)


def squares(crops: Crops) -> list[tuple[int, int, int]]:
    """(file, row, column) of every crop."""
    return [(crop.place.file, crop.place.rows.start, crop.place.columns.start) for crop in crops.crops]


def test_no_pixel_is_in_two_crops_and_none_that_chose_judges() -> None:
    images = textures(3, 0, 320, 480)
    found, parts = held_out(images), split(images, 0)
    seen = [np.zeros(image.shape[1:], int) for image in parts.held_out]
    for crop in found.choosing.crops + found.judging.crops:
        seen[crop.image][crop.place.rows, crop.place.columns] += 1
        np.testing.assert_array_equal(crop.noisy[0], parts.held_out[crop.image][:, crop.place.rows, crop.place.columns])
    assert max(counts.max() for counts in seen) == 1
    assert len(squares(found.choosing)) >= FEWEST and len(squares(found.judging)) >= 2 * FEWEST


def test_the_pages_of_a_stack_show_a_place_to_one_side_alone_and_count_once() -> None:
    found = held_out(textures(6, 1, 320, 640), groups=[0] * 6)
    assert not set(squares(found.choosing)) & set(squares(found.judging))
    assert len(found.judging.crops) > len(set(squares(found.judging)))  # places are seen on several pages
    clusters = found.judging.clusters()
    assert len(set(clusters.tolist())) == len(set(squares(found.judging)))


def test_with_few_places_the_pairs_differ_that_choose_and_judge() -> None:
    found = held_out(textures(1, 2, 256, 256))
    assert set(squares(found.choosing)) == set(squares(found.judging))
    assert FEWEST <= len(found.judging.crops) < ENOUGH and found.choosing.seed != found.judging.seed


def test_many_files_count_once_each() -> None:
    found = held_out(textures(50, 3))
    clusters = found.judging.clusters()
    assert len(set(clusters.tolist())) == 10 < len(clusters)


@pytest.mark.parametrize(("count", "height", "width"), [(1, 64, 64), (1, 64, 1024), (16, 64, 64), (2, 80, 70)])
def test_sets_of_the_smallest_images_can_be_scored(count: int, height: int, width: int) -> None:
    images = [image[:, :height, :width] for image in textures(count, 4, 96, 1024)]
    found, base = held_out(images), Denoiser.load("base-gray", device="cpu").network
    assert np.isfinite(found.choosing.psnr(base)) and np.isfinite(found.judging.scores(base).psnr)
    assert len(found.previews) == 3


@pytest.mark.parametrize("too_high", [1.0, 1.3])
def test_a_noise_line_that_is_too_high_does_not_hide_which_denoiser_is_better(too_high: float) -> None:
    """By the line alone, either would leave less than no error, and none could be told better."""
    base = Denoiser.load("base-gray", device="cpu").network
    crops = held_out(textures(4, 5, 320, 320), line=LINE * np.float32([too_high, too_high, too_high, 1])).choosing
    best, worse = crops.psnr(base), crops.psnr(_moved(base, 40, 1))
    assert worse + 0.05 < best < 45


def test_too_few_places_promote_nothing() -> None:
    def promoted(count: int) -> bool:
        rng = np.random.default_rng(0)
        errors, clusters = rng.normal(0.1, 0.001, 4 * count), np.arange(4 * count) % count
        base = Scores(errors, errors, 30.0, 0.0, 1.0, clusters)
        return judge(base, Scores(errors - 0.05, errors - 0.05, 31.0, 0.0, 1.0, clusters)).promoted

    assert not promoted(FEWEST - 1) and promoted(FEWEST)


@pytest.mark.parametrize("clusters", [8, 12, 40])
def test_standard_errors_are_those_of_a_normal_distribution_however_few_clusters(clusters: int) -> None:
    rng = np.random.default_rng(1)
    certainty = []
    for _ in range(2000):
        common = rng.normal(size=clusters).repeat(3)  # crops of one cluster say nearly the same
        gains = common + 0.1 * rng.normal(size=common.size)
        nothing = np.zeros_like(gains)
        base = Scores(gains, gains, 30.0, 0.0, 1.0, np.arange(clusters).repeat(3))
        certainty.append(judge(base, Scores(nothing, nothing, 30.0, 0.0, 1.0)).certainty)
    assert np.std(certainty) == pytest.approx(1, abs=0.05)
    assert np.mean(np.array(certainty) > 2) == pytest.approx(0.023, abs=0.01)


def test_an_error_below_zero_shows_that_the_noise_is_another_one() -> None:
    """Images that have next to no noise, and a line that says they have much: whatever is flat seems better."""
    rng = np.random.default_rng(5)
    images = [np.asarray(0.5 + rng.normal(0, 0.001, (1, 96, 320)), np.float32) for _ in range(2)]
    crops = replace(held_out(images, line=np.array([[0.0, 0.2**2, 1e-4, 0.0]], np.float32)).judging, level=0.0)
    base = Denoiser.load("base-gray", device="cpu").network
    noise = replace(crops.scores(base), possible=True, residual_std_ratio=1.0, psnr=0.0)
    found = crops.scores(base)
    assert found.errors.mean() < 0 and not found.possible
    worse = replace(noise, psnr=-1.0, errors=noise.errors + 1, likelihoods=noise.likelihoods + 1)
    assert judge(worse, noise).promoted and not judge(worse, replace(noise, possible=False)).promoted
    assert "below zero" in (outcome.doubt(judge(worse, found), found) or "")
    assert held_out(textures(2, 1, 96, 320)).judging.scores(base).possible


def test_a_change_without_meaning_is_as_uncertain_as_it_says() -> None:
    """Base − δ against base + δ on sets of one image each: about its mean for a δ, a verdict's numbers scatter by one.

    Over several δ, since the numbers of one δ scatter about a mean of its own.
    """
    base = Denoiser.load("base-gray", device="cpu").network
    certainties, likelihoods = [], []
    for change in range(1, 5):
        low, high = _moved(base, -1, change), _moved(base, +1, change)
        verdicts = []
        for seed in range(8):
            crops = held_out(textures(1, seed, 96, 320), seed).judging
            verdicts.append(judge(crops.scores(low), crops.scores(high)))
        certainties.append(np.var([v.certainty for v in verdicts], ddof=1))
        likelihoods.append(np.var([v.likelihood_certainty for v in verdicts], ddof=1))
    for variances in (certainties, likelihoods):
        assert np.mean(variances) ** 0.5 < 1.3


def _moved(base: DenoiserNetwork, sign: int, seed: int) -> DenoiserNetwork:
    generator, moved = torch.Generator().manual_seed(seed), copy.deepcopy(base)
    for weights in moved.parameters():
        weights.data += sign * 0.01 * weights.abs().mean() * torch.randn(weights.shape, generator=generator)
    return moved
