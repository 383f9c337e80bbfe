"""What denoising did to the data, told without a clean target.

Everything is computed on samples of (y, μ): the noisy image and the denoised one at full strength, in normalised units.
Only `noise_std_out` speaks of the strength that was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.estimate import NoiseFit
from model.normalise import IDENTITY, Normalisation

LAGS = (1, 2, 3)
NOISE_FIELDS = ("alpha", "sigma", "alpha_native", "sigma_native", "black_native", "noise_std_in", "noise_std_out")
SHARES = ("clipped_share", "left_share")
LITTLE_NOISE = 0.004  # normalised std: one gray level of 8 bits
HISTOGRAM_BINS = 61
HISTOGRAM_SPAN = 4.0  # in expected standard deviations
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Report:
    """Numbers of one denoise job (api.md, "Report of a denoise job").

    Attributes:
        alpha, sigma: the noise, normalised; `_native` in the file's own units: the variance of its values v is
            alpha_native·(v − black_native) + sigma_native².
        black_native: the value that `sigma_native` belongs to: the darkest of the image, or above it where its noise
            ends. It is the read noise if that value is the sensor's dark level, and more where no pixel is that dark.
        noise_std_in, noise_std_out: normalised noise std of the input, and the expected error left in the output, at
            the strength that was asked for.
        residual_mean: mean of y − μ; 0 if unbiased.
        residual_std_ratio: std of y − μ over the std of the estimated noise; near 1 when it is noise that was taken.
        residual_autocorrelation: of the standardised residual at lags 1–3, rows and columns averaged; 0 if white.
        residual_signal_correlation: of residual and denoised image; 0 when no structure was taken away.
        clipped_share: share of input pixels at the ends of the file's range.
        left_share: share of input pixels so far outside the normalised range that they were left as they are.
        warnings: plain words, empty when nothing is wrong.
        channels: of an image whose channels were normalised each by itself, the noise of each, `NOISE_FIELDS`; empty
            otherwise. The report's own numbers are then those of the channel with the most noise.
    """

    alpha: float
    sigma: float
    alpha_native: float
    sigma_native: float
    black_native: float
    noise_std_in: float
    noise_std_out: float
    residual_mean: float
    residual_std_ratio: float
    residual_autocorrelation: list[float]
    residual_signal_correlation: float
    clipped_share: float
    left_share: float
    noise_curve: dict[str, Any]
    residual_histogram: dict[str, list[float]]
    warnings: list[str] = field(default_factory=list)
    channels: list[dict[str, float]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def measure(
    samples: list[tuple[Floats, Floats]],
    fit: NoiseFit,
    *,
    posterior_variance: float = 0.0,
    clipped_share: float = 0.0,
    left_share: float = 0.0,
    normalisation: Normalisation = IDENTITY,
    strength: float = 1.0,
) -> Report:
    """The report of pairs (y, μ), each (C, h, w) in normalised units.

    Args:
        fit: the noise estimate.
        posterior_variance: mean Σ_x, the variance that the output is expected to be wrong by.
        clipped_share: share of input pixels at the ends of the file's range.
        left_share: share of input pixels that were left as they are.
        normalisation: maps the file's units to the normalised ones.
        strength: the share of y − μ that was taken out.
    """
    residual = np.concatenate([(y - m).ravel() for y, m in samples])
    signal = np.concatenate([m.ravel() for _, m in samples])
    expected = np.sqrt(np.mean(fit.variance_at(signal)))
    posterior_variance = max(posterior_variance, 0.0)
    # y − x = (y − μ) + (μ − x), and the two are uncorrelated: what is not taken out of the first adds to the second.
    kept = (1 - strength) ** 2 * max(expected**2 - posterior_variance, 0.0)
    standardised = [(y - m) / np.sqrt(np.maximum(fit.variance_at(m), 1e-12)) for y, m in samples]
    numbers: dict[str, Any] = {
        "alpha": fit.alpha,
        "sigma": fit.sigma,
        # Var[value] = scale²·(α·(value − offset)/scale + σ²): the gain in file units is α·scale.
        "alpha_native": fit.alpha * normalisation.scale,
        "sigma_native": fit.sigma * normalisation.scale,
        "black_native": fit.black * normalisation.scale + normalisation.offset,
        "noise_std_in": float(expected),
        "noise_std_out": float(np.sqrt(posterior_variance + kept)),
        "residual_mean": float(residual.mean(dtype=np.float64)),
        "residual_std_ratio": float(residual.std(dtype=np.float64) / max(expected, 1e-9)),
        "residual_autocorrelation": [autocorrelation(standardised, lag) for lag in LAGS],
        "residual_signal_correlation": _correlation(residual, signal),
        "clipped_share": clipped_share,
        "left_share": left_share,
    }
    return Report(
        **{k: _rounded(v) for k, v in numbers.items()},
        noise_curve={
            "mean": _rounded(fit.mean.tolist()), "variance": _rounded(fit.variance.tolist()),
            "alpha": _rounded(fit.alpha), "sigma": _rounded(fit.sigma), "black": _rounded(fit.black),
        },
        residual_histogram=_histogram(standardised),
        warnings=_warnings(numbers, float(np.sqrt(posterior_variance))),
    )  # fmt: skip


def combined(reports: Sequence[Report], warnings: Sequence[str] = ()) -> Report:
    """One report of several channels: that of the noisiest, with the noise of each and the warnings of all.

    Args:
        warnings: further ones, of the whole image.
    """
    if len(reports) == 1:
        return replace(reports[0], warnings=[*warnings, *reports[0].warnings])
    found = [f"channel {number}: {warning}" for number, one in enumerate(reports, start=1) for warning in one.warnings]
    channels = [{name: getattr(one, name) for name in NOISE_FIELDS} for one in reports]
    worst = max(reports, key=lambda one: one.noise_std_in)
    # Channels have as many pixels each.
    shares = {name: _rounded(np.mean([getattr(one, name) for one in reports])) for name in SHARES}
    return replace(worst, warnings=[*warnings, *found], channels=channels, **shares)


def _warnings(n: dict[str, Any], error: float) -> list[str]:
    """Plain words for numbers that a scientist should not overlook; `error` is that expected at full strength."""
    found = []
    lag1 = n["residual_autocorrelation"][0]
    little = n["noise_std_in"] < LITTLE_NOISE
    if little and n["residual_std_ratio"] <= 1.15:
        found.append(
            "almost no noise that is independent from pixel to pixel was found, so the image was left nearly as it "
            "was; noise that you still see is correlated between pixels (demosaicking, resizing, JPEG, lines), which "
            "this method cannot take out"
        )
    elif error >= 0.95 * n["noise_std_in"]:
        found.append(
            f"the noise is so weak ({n['noise_std_in']:.4f} of the range) that the result is not expected to be nearer "
            f"to the truth (error {error:.4f}): keep the original"
        )
    if lag1 > 0.15 and not little:
        found.append(
            f"what was taken out is spatially correlated (lag 1: {lag1:.2f}): either fine structure was removed with "
            "the noise, or the noise itself is correlated (demosaicking, resizing, JPEG) and part of it is left; look "
            "at the residual"
        )
    if abs(n["residual_signal_correlation"]) > 0.1:
        found.append(
            f"what was taken out resembles the image (correlation {n['residual_signal_correlation']:.2f}): fine "
            "structure may have been removed; try a lower strength or fine-tune on images of this kind"
        )
    if abs(n["residual_mean"]) > 0.1 * n["noise_std_in"]:
        found.append(f"the mean brightness moved by {n['residual_mean']:.4f} of the range")
    if n["clipped_share"] > 0.02:
        found.append(
            f"{100 * n['clipped_share']:.0f} % of the pixels are clipped at the end of the file's range: noise there "
            "is not Poisson-Gaussian and its mean is biased"
        )
    if n["left_share"] > 0.001:
        found.append(
            f"{100 * n['left_share']:.2g} % of the pixels lie far outside the brightness of the others and were left "
            "as they are (hot pixels, highlights, marks for missing data)"
        )
    if n["residual_std_ratio"] > 1.15:
        found.append("more was taken out than the estimated noise: look at the residual for structure")
    if n["residual_std_ratio"] < 0.75 and not little:
        found.append("less was taken out than the estimated noise: some noise is left")
    return found


def autocorrelation(standardised: list[Floats], lag: int) -> float:
    """Mean of the row and column autocorrelation at `lag` over all samples that are large enough."""
    top, bottom = 0.0, 0.0
    for z in standardised:
        centred = z - z.mean(dtype=np.float64).astype(np.float32)
        for shifted, base in (
            (centred[:, lag:], centred[:, : max(0, z.shape[1] - lag)]),
            (centred[:, :, lag:], centred[:, :, : max(0, z.shape[2] - lag)]),
        ):
            if base.size:
                top += float(np.vdot(shifted, base))
                bottom += 0.5 * float(np.vdot(shifted, shifted) + np.vdot(base, base))
    return top / bottom if bottom > 0 else 0.0


def _correlation(a: Floats, b: Floats) -> float:
    a, b = a - a.mean(dtype=np.float64).astype(np.float32), b - b.mean(dtype=np.float64).astype(np.float32)
    scale = float(np.vdot(a, a)) * float(np.vdot(b, b))
    return float(np.vdot(a, b)) / scale**0.5 if scale > 0 else 0.0


def _histogram(standardised: list[Floats]) -> dict[str, list[float]]:
    span = (-HISTOGRAM_SPAN, HISTOGRAM_SPAN)  # equal bins: numpy then counts without sorting
    edges = np.linspace(*span, HISTOGRAM_BINS + 1)
    counts = sum(np.histogram(z, HISTOGRAM_BINS, span)[0] for z in standardised)
    return {"edges": _rounded(edges.tolist()), "counts": [int(c) for c in np.asarray(counts)]}


def _rounded(value: Any) -> Any:
    """Six significant digits: what the estimate carries, and half the bytes of the JSON."""
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return float(f"{float(value):.6g}")
