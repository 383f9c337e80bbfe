"""Whole numbers of photon counts keep their mean, whatever is cut out of the image and however it is tiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from model import Denoiser
from model.arrays.normalise import Normalisation
from model.inference.rounding import Rounder, Rounding, _thresholds

Array = np.ndarray[Any, Any]
KIND = (0, 0)


def rounded(
    pixels: Array, change: Array, rounding: Rounding, scale: float = 20.0, place: tuple[int, int, int] = (0, 0, 0)
) -> Array:
    out = pixels.copy()
    Rounder(rounding, {KIND: Normalisation(0, scale)}, 1.0).add(out, change.astype(np.float32), KIND, place)
    return out


def counts(mean: float, side: int = 128, seed: int = 0) -> tuple[Array, Array]:
    """(photon counts, what takes them to their mean), (side, side, 1)."""
    found = np.random.default_rng(seed).poisson(mean, (side, side, 1))
    return found, mean - found


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("mean", [0.02, 0.1, 0.5, 1.4, 2.5])
def test_the_mean_of_counts_stays(mean: float, dtype: str) -> None:
    noisy, change = counts(mean)
    result = rounded(noisy.astype(dtype), change, Rounding(7, integers=dtype == "float32"))
    assert np.array_equal(result, np.rint(result)) and result.dtype == dtype
    assert result.mean() == pytest.approx(mean, abs=5 * np.sqrt((mean % 1) * (1 - mean % 1) / result.size))


def test_where_the_error_is_larger_than_a_step_the_nearest_is_taken() -> None:
    noisy, change = counts(400.0)
    change = change + 0.3
    result = rounded(noisy.astype(np.uint16), change, Rounding(7))
    np.testing.assert_array_equal(result, np.floor(noisy + change + 0.5))


def test_a_dim_part_beside_a_bright_one_is_rounded_by_its_own_error() -> None:
    dim, to_dim = counts(0.2)
    bright, to_bright = counts(900.0, seed=1)
    result = rounded(np.hstack([dim, bright]).astype(np.uint16), np.hstack([to_dim, to_bright]), Rounding(1), 1000.0)
    assert result[:, :128].mean() == pytest.approx(0.2, abs=0.02)
    assert np.ptp(result[:, 128:]) == 0


@pytest.mark.parametrize("top", [0, 1, 15, 16, 31, 47])
@pytest.mark.parametrize("left", [0, 3, 15, 32])
def test_a_crop_is_rounded_as_in_the_whole(top: int, left: int) -> None:
    noisy, change = counts(0.7)
    noisy[40:90, 50:] += np.random.default_rng(2).poisson(50, noisy[40:90, 50:].shape)
    change[40:90, 50:] = 50.7 - noisy[40:90, 50:]
    noisy = noisy.astype(np.uint8)
    whole = rounded(noisy, change, Rounding(3))
    part = rounded(noisy[top:, left:], change[top:, left:], Rounding(3, top, left))
    ragged = slice(-top % 16, None), slice(-left % 16, None)  # whole blocks of the grid
    np.testing.assert_array_equal(part[ragged], whole[top:, left:][ragged])
    tile = rounded(noisy[top:, left:], change[top:, left:], Rounding(3), place=(0, top, left))
    np.testing.assert_array_equal(tile, part)
    assert not np.array_equal(rounded(noisy, change, Rounding(4)), whole)
    assert not np.array_equal(rounded(noisy, change, Rounding(3), place=(1, 0, 0)), whole)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (2, 17), (17, 16)])
@pytest.mark.parametrize("start", [0, 7, 15])
def test_small_pieces_are_rounded_too(shape: tuple[int, int], start: int) -> None:
    result = rounded(np.zeros((*shape, 2), np.uint8), np.full((*shape, 2), 0.4), Rounding(0, start, start))
    assert set(np.unique(result)) <= {0, 1}


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_what_did_not_change_stays_and_ends_hold(dtype: str) -> None:
    top = 65_535 if dtype == "uint16" else 255
    marks = np.array([0, 1, top - 1, top] * 64).reshape(16, 16, 1).astype(dtype)
    rounding = Rounding(5, integers=True)
    np.testing.assert_array_equal(rounded(marks, np.zeros(marks.shape), rounding), marks)
    if dtype != "float32":
        assert rounded(marks, np.full(marks.shape, 0.9), rounding).max() == top
        assert rounded(marks, np.full(marks.shape, -0.9), rounding).min() == 0


def test_flat_drawings_come_back_as_they_were() -> None:
    drawing = np.kron(np.random.default_rng(0).integers(0, 255, (8, 8, 1)), np.ones((16, 16, 1))).astype(np.uint8)
    np.testing.assert_array_equal(rounded(drawing, np.full(drawing.shape, 0.1), Rounding(0), 255.0), drawing)


def test_thresholds_are_evenly_spread_and_independent() -> None:
    found = np.stack([_thresholds(seed, 0, (0, 0), (256, 256, 1), 0)[..., 0] for seed in (0, 1, 1 << 40)])
    assert found.min() >= 0 and found.max() < 1
    counted = np.histogram(found, 64, (0, 1))[0] / found.size * 64
    assert np.abs(counted - 1).max() < 0.1
    centred = found - 0.5
    for a, b in (
        (centred[0], centred[1]), (centred[0], centred[2]), (centred[:, 1:], centred[:, :-1]),
        (centred[:, :, 1:], centred[:, :, :-1]), (centred[:, 1:, 1:], centred[:, :-1, :-1]),
    ):  # fmt: skip
        assert abs(np.mean(a * b)) * 12 < 0.02


def test_the_report_is_of_what_is_delivered() -> None:
    base_gray = Denoiser.load("base-gray", "cpu")
    noisy = np.random.default_rng(0).poisson(0.2, (128, 128)).astype(np.uint8)
    exact = np.empty(noisy.shape, np.float32)
    _, before = base_gray.denoise_with_report(noisy, out=exact)
    result, after = base_gray.denoise_with_report(noisy, rounding=Rounding(9))
    assert before is not None and after is not None
    assert exact.dtype == np.float32 and 0.15 < exact.mean() < 0.25
    assert result.mean() == pytest.approx(exact.mean(), abs=0.02)
    assert (before.rounded_share, after.rounded_share) == (0, 1)
    assert after.warnings[0].startswith("`output_dtype=float32`") and before.warnings != after.warnings
    scale = base_gray.scalings(noisy).by_kind[KIND].scale
    added = np.mean((result - exact) ** 2) / scale**2
    assert after.noise_std_out == pytest.approx(np.sqrt(before.noise_std_out**2 + added), rel=0.05)
    tiled, _ = base_gray.denoise_with_report(noisy, rounding=Rounding(9), tile=32)
    assert np.mean(tiled != result) < 0.002, "but for a last digit of the network's"
