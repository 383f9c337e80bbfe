"""The paper's table of noise estimates: α̂ and σ̂ of each estimator from single noisy images, beside the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lab.evaluate import noisy_pairs
from lab.published import ESTIMATES
from model.errors import InvalidOption
from model.inference.denoiser import Denoiser, base_model_for
from model.noise.poisson_gaussian import LEVELS
from model.training.losses import CramerGaussian

Floats = NDArray[np.float32]
FIRST_ALPHA, FIRST_SIGMA = 0.02, 0.02  # where the descent begins: between the levels of the paper
STEPS, RATE = 120, 0.08  # of Adam, on log α and log σ²
PATCH_STRIDE = 2


class Estimate(NamedTuple):
    """Gain α and read noise σ in normalised units."""

    alpha: float
    sigma: float


class Row(NamedTuple):
    """What an estimator finds in a set with the noise `level`: means over its images, and their spread."""

    level: str
    estimator: str
    mean: Estimate
    spread: Estimate | None


def by_cramer(noisy: Floats) -> Estimate:
    """The noise of one image (C, H, W) that minimises the Cramer Gaussian loss L_est (docs/method.md §3), by descent.

    No network and no other image. L_est asks for unit noise in the whole image and in corners of it, which α and σ
    reach together along a line: where on it the descent ends depends on where it begins (benchmarks/README.md).
    """
    image = torch.from_numpy(noisy)[None]
    logs = torch.tensor([np.log(FIRST_ALPHA), 2 * np.log(FIRST_SIGMA)], dtype=torch.float32, requires_grad=True)
    loss = CramerGaussian(stride=PATCH_STRIDE)
    optimiser = torch.optim.Adam([logs], lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS, RATE / 50)
    for _ in range(STEPS):
        optimiser.zero_grad()
        found = loss(image, *(one[None] for one in logs.exp()))
        found.backward()
        optimiser.step()
        schedule.step()
    alpha, variance = logs.detach().exp().tolist()
    return Estimate(alpha, variance**0.5)


class ByReport:
    """What the service's report says of an image, by the base model of its channels."""

    def __init__(self, channels: int) -> None:
        self._denoiser = Denoiser.load(base_model_for(channels), "cpu")

    def __call__(self, noisy: Floats) -> Estimate:
        _, report = self._denoiser.denoise_with_report(noisy.transpose(1, 2, 0), normalize="none")
        assert report is not None
        return Estimate(report.alpha, report.sigma)


def measured(images: Path, channels: int, levels: Iterable[str]) -> list[Row]:
    """Both estimators on every image of a folder, by the protocol of `lab.evaluate`.

    Raises:
        NoImages: the folder has no images.
        InvalidOption: no such level.
    """
    estimators: Mapping[str, Callable[[Floats], Estimate]] = {
        "Cramer loss, by descent": by_cramer,
        "the service's report": ByReport(channels),
    }
    rows = []
    for level in levels:
        if level not in LEVELS:
            raise InvalidOption(f"there is no noise {level!r}: choose among {', '.join(LEVELS)}")
        noisy = [image for image, _ in noisy_pairs(images, channels, level)]
        for name, estimator in estimators.items():
            found = np.array([estimator(image) for image in noisy])
            rows.append(Row(level, name, Estimate(*found.mean(0)), Estimate(*found.std(0))))
    return rows


def markdown(rows: Iterable[Row]) -> str:
    """The table, with the truth and PGE-Net's published estimates at each level."""
    by_level: dict[str, list[Row]] = {}
    for row in rows:
        by_level.setdefault(row.level, []).append(row)
    lines = ["| noise | estimator | α̂ | σ̂ |", "|---|---|---|---|"]
    for level, found in by_level.items():
        truth = LEVELS[level]
        lines.append(_line(Row(level, "truth", Estimate(truth.alpha, truth.sigma), None)))
        if level in ESTIMATES:
            lines.append(_line(Row(level, "PGE-Net, published", Estimate(*ESTIMATES[level]), None)))
        lines += map(_line, found)
    return "\n".join(lines)


def _line(row: Row) -> str:
    spread = row.spread or (None, None)
    values = [
        f"{mean:.4f}" + (f" ± {by:.4f}" if by is not None else "") for mean, by in zip(row.mean, spread, strict=True)
    ]
    return f"| {row.level} | {row.estimator} | {' | '.join(values)} |"
