from dataclasses import replace

import numpy as np
import pytest

from model import Denoiser
from model.noise.noise_curve import NoiseCurve, NoiseFit
from model.report import report


def ramp(low: float, high: float) -> np.ndarray:
    """A smooth image that shows every level."""
    return np.broadcast_to(np.linspace(low, high, 700, dtype=np.float32)[:, None], (700, 600))


def curve_of(alpha: float, sigma: float, seed: int = 0, shrink: float = 0.0) -> NoiseCurve:
    """The curve of a perfect posterior: a share `shrink` of the noise is unknown to the denoiser."""
    rng = np.random.default_rng(seed)
    clean = ramp(0.05, 0.95)
    variance = (alpha * clean + sigma**2).astype(np.float32)
    noise = rng.normal(0, np.sqrt(variance)).astype(np.float32)
    # μ = x + e with e of variance shrink·n, so E[(y − μ)²] = (1 − shrink)·n: the posterior variance is what is missing.
    share = np.where(np.arange(clean.shape[1]) % 2, shrink, shrink / 4).astype(np.float32)
    curve = NoiseCurve()
    curve.add(clean + np.sqrt(1 - share) * noise, clean, share * variance)
    return curve


@pytest.mark.parametrize(("alpha", "sigma"), [(0.01, 0.0), (0.01, 0.02), (0.05, 0.02), (0.0, 0.05)])
@pytest.mark.parametrize("shrink", [0.0, 0.2])
def test_the_line_through_the_curve_is_the_noise(alpha: float, sigma: float, shrink: float) -> None:
    fit = curve_of(alpha, sigma, shrink=shrink).fit()
    assert fit.alpha == pytest.approx(alpha, rel=0.03, abs=3e-4)
    assert fit.sigma == pytest.approx(sigma, abs=0.005)


def test_clipped_ends_do_not_bend_the_line() -> None:
    rng = np.random.default_rng(0)
    clean = ramp(0, 1)
    noisy = (clean + rng.normal(0, np.sqrt(0.01 * clean))).clip(0, 1).astype(np.float32)
    curve = NoiseCurve()
    curve.add(noisy, clean, np.zeros_like(clean))
    assert curve.fit().alpha < 0.0096
    assert curve.fit((0.0, 1.0)).alpha == pytest.approx(0.01, rel=0.03)


def test_a_denoiser_that_leans_towards_the_noise_does_not_tilt_the_line() -> None:
    alpha, sigma, lean = 0.05, 0.02, 0.15
    rng = np.random.default_rng(0)
    clean = ramp(0.02, 0.9)
    noise = (alpha * rng.poisson(clean / alpha) - clean + rng.normal(0, sigma, clean.shape)).astype(np.float32)
    mean = clean + lean * noise
    curve = NoiseCurve()
    # The residual is short of the noise by (1 - lean)²; what is missing is the posterior variance.
    curve.add(clean + noise, mean, ((1 - (1 - lean) ** 2) * (alpha * clean + sigma**2)).astype(np.float32))
    fit = curve.fit()
    assert fit.alpha == pytest.approx(alpha, rel=0.03)
    assert fit.sigma == pytest.approx(sigma, abs=0.004)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 7), (3, 2, 3), (4, 4)])
def test_images_smaller_than_the_box_are_counted_too(shape: tuple[int, ...]) -> None:
    mean = np.full(shape, 0.5, np.float32)
    curve = NoiseCurve(flat=1.0)
    curve.add(mean + 0.1, mean, np.zeros_like(mean))
    assert curve.count.sum() == mean.size
    assert curve.fit().sigma == pytest.approx(0.1, rel=1e-3)


def test_curve_of_nothing_is_no_noise() -> None:
    assert NoiseCurve().fit().alpha == 0.0
    flat = np.full((4, 4), 0.5, np.float32)
    curve = NoiseCurve()
    curve.add(flat, flat, np.zeros_like(flat))
    assert curve.fit().sigma == 0.0


FIT = NoiseFit(0.0, 0.1, np.array([0.5]), np.array([0.01]), np.array([100.0]))


def sample(noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = np.broadcast_to(np.linspace(0.2, 0.8, noise.shape[1], dtype=np.float32), noise.shape)[None]
    return x + noise[None].astype(np.float32), x.copy()


def test_white_residual_of_the_right_size_is_clean() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (300, 300))
    found = report.measure([sample(noise)], FIT)
    assert found.residual_std_ratio == pytest.approx(1.0, abs=0.02)
    assert np.abs(found.residual_autocorrelation).max() < 0.02
    assert abs(found.residual_mean) < 0.002 and abs(found.residual_signal_correlation) < 0.02
    assert found.warnings == []


def test_correlated_noise_is_told() -> None:
    white = np.random.default_rng(0).normal(0, 0.1, (301, 301))
    smooth = (white[1:, 1:] + white[:-1, 1:] + white[1:, :-1] + white[:-1, :-1]) / 2  # lag 1: 0.5
    found = report.measure([sample(smooth)], FIT)
    assert found.residual_autocorrelation[0] == pytest.approx(0.5, abs=0.05)
    assert any("no pure noise" in w for w in found.warnings)


def test_structure_taken_away_is_told() -> None:
    noisy, mean = sample(np.random.default_rng(0).normal(0, 0.1, (200, 200)))
    found = report.measure([(noisy + 0.3 * (mean - 0.5), mean)], FIT)
    assert found.residual_signal_correlation > 0.3
    assert any("looks like the image itself" in w for w in found.warnings)


def test_bias_clipping_and_leftovers_are_told() -> None:
    noisy, mean = sample(np.random.default_rng(0).normal(0, 0.1, (200, 200)))
    words = " ".join(report.measure([(noisy + 0.05, mean)], FIT, clipped_share=0.1).warnings)
    assert "the whole image became" in words and "10 % of the pixels are clipped" in words
    timid = report.measure([(mean + 0.4 * (noisy - mean), mean)], FIT)
    assert any("some noise is left" in w for w in timid.warnings)


def test_report_is_json_ready() -> None:
    import json

    noise = np.random.default_rng(0).normal(0, 0.1, (2, 1))  # smaller than the lags
    assert json.loads(json.dumps(report.measure([sample(noise)], FIT).to_dict()))["alpha"] == 0.0


@pytest.mark.parametrize("photons", [0.04, 0.4, 2.0])
def test_a_pixel_without_a_photon_is_not_clipped(photons: float) -> None:
    """96 % of an image of 0.04 photons a pixel were said to be at the end of the range; black ones of a camera are."""
    base = Denoiser.load("base-gray", "cpu")
    rng = np.random.default_rng(0)
    light = photons * (0.5 + np.sin(np.arange(192) / 20)[:, None] ** 2 * np.ones((192, 192)))
    _, counted = base.denoise_with_report(rng.poisson(light).astype(np.uint16))
    dark = rng.normal(20 * photons, 30, (192, 192)).clip(0, None).round().astype(np.uint16)
    _, clipped = base.denoise_with_report(dark)
    assert counted is not None and clipped is not None
    assert not any("clipped" in said for said in counted.warnings)
    assert any("clipped" in said for said in clipped.warnings)


def test_one_warning_of_several_channels_is_said_once() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (32, 32))
    blank = report.measure([sample(noise)], FIT)
    reports = [replace(blank, warnings=said) for said in (["dark", "green"], ["dark"], ["dark"])]
    assert report.combined(reports).warnings == ["dark", "channel 1: green"]
