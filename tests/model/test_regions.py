"""Places where the report says that the result is farther from the truth than what was sent."""

import numpy as np
import pytest

from model import Denoiser
from model.noise.noise_level import NoiseLevel
from model.report.regions import MOST, Regions, rectangles
from tests.harness.random_scenes import compare, draw, named_blocks


@pytest.fixture(scope="module")
def base() -> Denoiser:
    return Denoiser.load("base-gray", "cpu")


@pytest.fixture
def noisy() -> np.ndarray:
    return np.random.default_rng(0).normal(100, 5, (128, 160, 1)).astype(np.float32)


def found(noisy: np.ndarray, result: np.ndarray, gaps: np.ndarray | None = None) -> Regions:
    regions = Regions()
    regions.add(0, noisy, result, gaps, [[NoiseLevel(0, 25.0)]])
    return regions


def test_noise_that_was_taken_out_is_no_harm(noisy: np.ndarray) -> None:
    regions = found(noisy, np.full_like(noisy, 100))
    assert regions.found == [] and regions.warnings() == []


def test_a_square_in_which_more_was_changed_than_noise_is_named_by_its_place(noisy: np.ndarray) -> None:
    result = np.full_like(noisy, 100)
    result[32:96, 64:128] = noisy[32:96, 64:128] + 15
    (one,) = found(noisy, result).found
    assert (one.x, one.y, one.width, one.height) == (64, 32, 64, 64)
    (words,) = found(noisy, result).warnings()
    assert "in 20 % of the image" in words and "64 x 64 pixels from row 32, column 64" in words


def test_hot_pixels_and_gaps_are_no_harm(noisy: np.ndarray) -> None:
    noisy[::16, ::16] = 5_000
    gaps = np.zeros(noisy.shape, bool)
    gaps[:40, :40] = True
    result = np.full_like(noisy, 100)
    result[gaps] = 7
    assert found(noisy, result, gaps).found == []


def test_squares_are_joined_and_only_the_largest_are_kept() -> None:
    mask = np.array([[1, 1, 0, 1], [1, 1, 0, 0], [0, 1, 0, 1]], bool)
    sides = sorted((one.x, one.y, one.width, one.height) for one in rectangles(mask, 2, 1))
    assert sides == [(0, 0, 64, 64), (32, 64, 32, 32), (96, 0, 32, 32), (96, 64, 32, 32)]
    noisy = np.zeros((32 * 8, 32 * 8, 1), np.float32)
    result = np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((32, 32)))[..., None].astype(np.float32) * 99
    regions = found(noisy, result)
    assert len(regions.found) == MOST and regions.bad == 32 * 32**2


def test_lines_that_were_taken_out_are_no_harm(base: Denoiser) -> None:
    rng = np.random.default_rng(0)
    smooth = 2_000 + 50 * np.sin(np.arange(256) / 40)[:, None] + np.zeros((256, 256))
    shifted = smooth + rng.normal(0, 25, (256, 1)) + rng.normal(0, 10, smooth.shape)
    _, report = base.denoise_with_report(shifted.astype(np.float32))
    assert report is not None and report.noise_kind["row_lines"] > 10
    assert report.regions == []


def test_named_regions_are_truly_worse(base: Denoiser) -> None:
    """With a scale that the caller names nothing is held back; by its own no region needs a name."""
    named = worse = 0
    for seed in range(2_000, 2_020):
        case = draw(seed)
        result, report = base.denoise_with_report(case.noisy, normalize="dtype")
        assert report is not None
        mine, truly = named_blocks(case, result, report.regions)
        named, worse = named + mine, worse + truly
        assert bool(report.regions) == any("do not trust" in words for words in report.warnings)
    assert named > 20 and worse >= 0.7 * named
    cases = [draw(seed) for seed in range(2_000, 2_010)]
    reports = [base.denoise_with_report(case.noisy) for case in cases]
    blocks = sum(compare(case, result).blocks for case, (result, _) in zip(cases, reports, strict=True))
    of_auto = [
        named_blocks(case, result, told.regions) for case, (result, told) in zip(cases, reports, strict=True) if told
    ]
    assert sum(of[0] for of in of_auto) <= 0.05 * blocks
    assert sum(of[1] for of in of_auto) >= 0.7 * sum(of[0] for of in of_auto)
