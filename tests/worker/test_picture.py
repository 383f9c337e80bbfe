"""report.png shows what it says it shows, for every kind of image, and survives odd reports."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from worker import picture
from worker.cut import Cut

SIDE, TOP = picture.SIDE, picture.HEADER + picture.CAPTION


def report(**changes: Any) -> dict[str, Any]:
    """A report as `model.report.Report.to_dict()` gives it."""
    edges = np.linspace(-4, 4, 62)
    mean = np.linspace(0.1, 0.9, 20)
    return {
        "alpha": 0.008, "sigma": 0.03, "alpha_native": 2.04, "sigma_native": 7.65, "black_native": 3.0, "channels": [],
        "noise_std_in": 0.08, "noise_std_out": 0.02, "residual_mean": -0.0003, "residual_std_ratio": 1.01,
        "residual_autocorrelation": [0.01, -0.004, 0.002], "residual_signal_correlation": 0.01, "clipped_share": 0.002,
        "noise_curve": {
            "mean": mean.tolist(), "variance": (0.008 * mean + 0.0009).tolist(), "alpha": 0.008, "sigma": 0.03,
        },
        "residual_histogram": {"edges": edges.tolist(), "counts": np.exp(-edges[:-1] ** 2 / 2).tolist()},
        "warnings": [],
    } | changes  # fmt: skip


def pair(shape: tuple[int, ...], dtype: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A noisy and a clean image."""
    rng = np.random.default_rng(0)
    clean = np.full(shape, 100.0)
    return (clean + rng.normal(0, 9, shape)).astype(dtype), clean.astype(dtype)


def drawn(*args: Any) -> np.ndarray[Any, Any]:
    """The picture as (H, W, 3)."""
    noisy, denoised, report = args
    cut = Cut.from_bytes(Cut.of(noisy, denoised).to_bytes())
    image = Image.open(io.BytesIO(picture.draw(cut, report)))
    assert (image.format, image.mode, image.width) == ("PNG", "RGB", 1056)
    return np.asarray(image)


def panel(page: np.ndarray[Any, Any], index: int, height: int, width: int) -> np.ndarray[Any, Any]:
    left = picture.GUTTER + index * (SIDE + picture.GUTTER)
    return page[TOP : TOP + height, left : left + width]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(
    "shape", [(1, 320, 320, 3), (3, 512, 700, 1), (40, 50, 3), (320, 300), (1, 64, 64, 7), (1, 1, 1, 1)]
)
def test_every_kind_of_image(shape: tuple[int, ...], dtype: str) -> None:
    drawn(*pair(shape, dtype), report())


def test_panels_show_the_pixels_themselves() -> None:
    rng = np.random.default_rng(1)
    noisy, clean = rng.integers(0, 256, (2, 1, 320, 320, 3), dtype=np.uint8)
    page = drawn(noisy, clean, report())
    np.testing.assert_array_equal(panel(page, 0, 320, 320), noisy[0])
    np.testing.assert_array_equal(panel(page, 1, 320, 320), clean[0])
    residual = noisy[0].astype(float) - clean[0]
    shown = panel(page, 2, 320, 320).astype(float)
    assert np.corrcoef(residual.ravel(), shown.ravel())[0, 1] > 0.999


def test_no_change_gives_a_flat_gray_residual() -> None:
    _, clean = pair((1, 320, 320, 1), "uint16")
    assert set(np.unique(panel(drawn(clean, clean, report()), 2, 320, 320))) <= {127, 128}


def test_large_images_show_their_middle_and_stacks_their_middle_page() -> None:
    noisy = np.zeros((5, 1000, 1200, 1), np.uint8)
    noisy[2, 340:660, 440:760] = 200
    page = drawn(noisy, noisy, report())
    assert (panel(page, 0, 320, 320) == 200).all()


def test_small_images_are_enlarged_by_a_whole_factor() -> None:
    noisy = np.random.default_rng(2).integers(0, 256, (1, 40, 60, 1), dtype=np.uint8)
    shown = panel(drawn(noisy, noisy, report()), 0, 200, 300)[..., 0]
    np.testing.assert_array_equal(shown, np.kron(noisy[0, :, :, 0], np.ones((5, 5), np.uint8)))


def count(page: np.ndarray[Any, Any], colour: tuple[int, int, int]) -> int:
    return int((page == colour).all(axis=2).sum())


def test_warnings_are_written_in_their_colour() -> None:
    images = pair((1, 64, 64, 1), "uint8")
    quiet, loud = drawn(*images, report()), drawn(*images, report(warnings=["the noise is σ-odd " * 20, "é ü 中"]))
    assert loud.shape[0] > quiet.shape[0]
    assert count(quiet, picture.GREEN) > 50 > count(loud, picture.GREEN)
    assert count(loud, picture.ORANGE) > count(quiet, picture.ORANGE) + 200


def test_correlated_noise_is_seen_in_the_bars() -> None:
    images = pair((1, 320, 320, 1), "uint8")
    white, correlated = (
        count(drawn(*images, report(residual_autocorrelation=values)), picture.ORANGE)
        for values in ([0.05, 0.02, 0.01], [0.6, 0.3, 0.01])
    )
    assert correlated > white + 1000


@pytest.mark.parametrize(
    "changes",
    [
        {"noise_curve": {"mean": [], "variance": [], "alpha": 0.0, "sigma": 0.0}},
        {"noise_curve": {"mean": [-0.4, 1.9], "variance": [0.0, 50.0], "alpha": 9.0, "sigma": 4.0}},
        {"residual_histogram": {"edges": np.linspace(-4, 4, 62).tolist(), "counts": [0] * 61}},
        {"residual_autocorrelation": [1.0, -1.0, 0.0]},
    ],
)
def test_extreme_numbers(changes: dict[str, Any]) -> None:
    drawn(*pair((1, 64, 64, 1), "uint8"), report(**changes))
