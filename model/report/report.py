"""What denoising did to the data, told without a clean target.

Everything is computed on samples of (y, μ): the noisy image and the denoised one at full strength, in normalised units.
Only `noise_std_out` speaks of the strength that was asked for; `residual_mean` and it, of the rounded result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.arrays.normalise import IDENTITY, Normalisation
from model.noise.noise_curve import NoiseFit

LAGS = (1, 2, 3)
NOISE_FIELDS = ("alpha", "sigma", "alpha_native", "sigma_native", "black_native", "noise_std_in", "noise_std_out")
SHARES = ("clipped_share", "left_share")
LITTLE_NOISE = 0.004  # normalised std: one gray level of 8 bits
WHITE = 0.15  # |autocorrelation| up to which noise counts as independent from pixel to pixel
HISTOGRAM_BINS = 61
HISTOGRAM_SPAN = 4.0  # in expected standard deviations
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Report:
    """Numbers of one denoise job (docs/api.md, "Report of a denoise job").

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
        missing_share: share of input values that measured nothing; they take part in no other number.
        noise_kind: how the noise of input and result depends on its neighbours (`noise_words.describe`).
        rounded_share: share of pixels that were rounded up or down by chance, see `model/inference/rounding.py`.
        regions: where the result is farther from the truth than what was sent (`regions.Region`), the largest first.
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
    rounded_share: float = 0.0
    channels: list[dict[str, float]] = field(default_factory=list)
    missing_share: float = 0.0
    noise_kind: dict[str, Any] = field(default_factory=dict)
    regions: list[dict[str, Any]] = field(default_factory=list)

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
    bracketed: bool = False,
    held: bool = False,
    correlated: bool = False,
    photons: bool = False,
) -> Report:
    """The report of pairs (y, μ), each (C, h, w) in normalised units.

    Args:
        fit: the noise estimate.
        posterior_variance: mean Σ_x, the variance that the output is expected to be wrong by.
        clipped_share: share of input pixels at the ends of the file's range.
        left_share: share of input pixels that were left as they are.
        normalisation: maps the file's units to the normalised ones.
        strength: the share of y − μ that was taken out.
        correlated: whether the model was trained on noise that neighbouring pixels share.
        bracketed: whether what is dark was seen by itself, so that noise that is little of the range is much of that.
        held: whether it is said elsewhere that some noise is left.
        photons: whether values are few counted photons, of which 0 is no end of the range but a count.
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
        warnings=_warnings(
            numbers, 0.0 if bracketed else float(np.sqrt(posterior_variance)), bracketed, held, correlated, photons
        ),
    )  # fmt: skip


def combined(reports: Sequence[Report], warnings: Sequence[str] = (), names: Sequence[str] = ()) -> Report:
    """One report of several channels: that of the noisiest, with the noise of each and the warnings of all.

    Args:
        warnings: further ones, of the whole image.
        names: what a person calls each channel.
    """
    if len(reports) == 1:
        return replace(reports[0], warnings=[*warnings, *reports[0].warnings])
    names = names or [f"channel {number + 1}" for number in range(len(reports))]
    found = _of_channels(reports, names)
    channels = [{name: getattr(one, name) for name in NOISE_FIELDS} for one in reports]
    worst = max(reports, key=lambda one: one.noise_std_in)
    # Channels have as many pixels each.
    shares = {name: _rounded(np.mean([getattr(one, name) for one in reports])) for name in SHARES}
    return replace(worst, warnings=[*warnings, *found], channels=channels, **shares)


def _of_channels(reports: Sequence[Report], names: Sequence[str]) -> list[str]:
    """The warnings of all, each beside the names of the channels that it is about; of all of them without a name."""
    found: dict[str, list[str]] = {}
    for name, one in zip(names, reports, strict=True):
        for warning in one.warnings:
            found.setdefault(warning, []).append(name)
    return [said if len(of) == len(reports) else f"{', '.join(of)}: {said}" for said, of in found.items()]


def _warnings(
    n: dict[str, Any], error: float, bracketed: bool, held: bool, correlated: bool, photons: bool
) -> list[str]:
    """Plain words for numbers that a scientist should not overlook; `error` is that expected at full strength."""
    found = []
    lag1 = n["residual_autocorrelation"][0]
    little = n["noise_std_in"] < LITTLE_NOISE and not (bracketed or correlated)
    if little and n["residual_std_ratio"] <= 1.15:
        found.append(
            "almost no noise was found that differs by chance from each pixel to the next, so the image was left "
            "nearly as it was; noise that you still see runs over several pixels (a camera's own processing, resizing, "
            "JPEG, lines), which this method cannot take out: send the recording from before that"
        )
    elif error >= 0.95 * n["noise_std_in"]:
        found.append(
            f"the noise is so weak ({100 * n['noise_std_in']:.2g} % of the brightness range) that the result is "
            f"probably no nearer to the truth than what you sent (expected error {100 * error:.2g} %): keep the "
            "original"
        )
    if lag1 > WHITE and not (little or correlated):  # what a model for correlated noise takes out is correlated
        found.append(
            f"what was taken out is no pure noise, neighbouring pixels of it are alike (correlation {lag1:.2f}; of "
            "noise it is 0): either fine structure went with it, or the noise itself runs over several pixels (a "
            "camera's own processing, resizing, JPEG) and part of it is left; look at the picture of what was taken out"
        )
    if abs(n["residual_signal_correlation"]) > 0.1:
        found.append(
            "what was taken out looks like the image itself (correlation "
            f"{n['residual_signal_correlation']:.2f}; of noise it is 0): fine structure may have been removed; look at "
            "the picture of what was taken out, try a lower `strength`, or fine-tune on images of this kind"
        )
    if abs(n["residual_mean"]) > 0.1 * n["noise_std_in"]:
        way = "darker" if n["residual_mean"] > 0 else "brighter"
        found.append(
            f"the whole image became {way} by {100 * abs(n['residual_mean']):.2g} % of its brightness range: do not "
            "measure brightness in the result"
        )
    if n["clipped_share"] > 0.02 and not photons:
        found.append(
            f"{100 * n['clipped_share']:.0f} % of the pixels are clipped: they have the smallest or the largest value "
            "that the file can hold, and the light may have been less or more than that; do not measure brightness "
            "there"
        )
    if n["left_share"] > 0.001:
        found.append(
            f"{100 * n['left_share']:.2g} % of the pixels lie far outside the brightness of the others and were left "
            "as they are (hot pixels, highlights, marks for missing data)"
        )
    if n["residual_std_ratio"] > 1.15:
        found.append(
            "more was taken out than there is noise by estimate: look for structure in the picture of what was taken "
            "out"
        )
    if n["residual_std_ratio"] < 0.75 and not (little or held):
        found.append("less was taken out than there is noise by estimate: some noise is left")
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
