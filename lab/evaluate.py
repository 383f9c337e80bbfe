"""Scores against clean references, by the protocol of Blind2Sound §4 (docs/method.md §5).

Noise drawn with `numpy.random.seed(101)`'s generator, one draw an image; clip and round to 8 bit; PSNR with peak 255;
SSIM with a Gaussian window of 11 and σ 1.5 over the valid region, channels averaged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.files import image_files, page
from model.arrays.pixels import full_scale, to_channels
from model.errors import InvalidArray
from model.inference.denoiser import Denoiser
from model.noise.poisson_gaussian import draw_level

PEAK = 255.0
SEED = 101
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """Mean PSNR in dB, mean SSIM, number of images and seconds spent in the model."""

    psnr: float
    ssim: float
    n: int
    seconds: float


def against_clean(denoiser: Denoiser, images: Path, noise: str) -> Score:
    """Denoise every image of a folder with synthetic noise and score it.

    The generator goes on from image to image, sorted by name, as in the authors' evaluation.

    Raises:
        NoImages: the folder has no images.
    """
    pairs = ((noisy, clean * PEAK) for noisy, clean in noisy_pairs(images, denoiser.channels, noise))
    return score(pairs, lambda noisy: _restore(denoiser, noisy, "none") * PEAK)


def noisy_pairs(images: Path, channels: int, noise: str) -> Iterator[tuple[NDArray[np.float32], Floats]]:
    """Noisy and clean (C, H, W), 0 … 1, of every image of a folder, by the protocol.

    Raises:
        NoImages: the folder has no images.
    """
    rng = np.random.RandomState(SEED)
    level_rng = np.random.default_rng(SEED)
    for path in image_files(images):
        clean = _unit(to_channels(page(path), channels))
        yield draw_level(noise, level_rng).add(clean.astype(np.float32), rng), clean  # type: ignore[arg-type]


def against_reference(denoiser: Denoiser, images: Path, reference: Path, *, affine: bool) -> Score:
    """Score real noisy images by references of the same name (any suffix), integers by their full scale.

    Args:
        affine: first fit a·x + b to the reference by least squares, for pairs whose scales differ.

    Raises:
        InvalidArray: no image has a reference, or a pair's sizes differ.
    """
    references = {path.stem: path for path in image_files(reference)}

    def pairs() -> Iterator[tuple[NDArray[np.generic], Floats]]:
        for path in image_files(images):
            if path.stem not in references:
                continue
            noisy, clean = (page(p) for p in (path, references[path.stem]))
            if noisy.shape != clean.shape:
                raise InvalidArray(f"{path.name}: {noisy.shape} here, {clean.shape} in the reference")
            channels = denoiser.channels if noisy.shape[-1] > 1 else 1
            planes = to_channels(noisy, channels)
            yield planes, _unit(to_channels(clean, len(planes))) * PEAK

    return score(pairs(), lambda noisy: _unit(_restore(denoiser, noisy, "auto")) * PEAK, affine=affine)


def psnr(image: Floats, reference: Floats, peak: float = PEAK) -> float:
    """10·log10(peak² / mean squared error); infinite for equal images."""
    mse = float(np.mean((image - reference) ** 2))
    return float("inf") if mse == 0 else 10 * float(np.log10(peak**2 / mse))


def ssim(image: Floats, reference: Floats, peak: float = PEAK) -> float:
    """Structural similarity (Wang et al. 2004) of (C, H, W) images: Gaussian window 11, σ 1.5, valid region."""
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    mx, my = _window(image), _window(reference)
    xx = _window(image**2) - mx**2
    yy = _window(reference**2) - my**2
    xy = _window(image * reference) - mx * my
    similarity = (2 * mx * my + c1) * (2 * xy + c2) / ((mx**2 + my**2 + c1) * (xx + yy + c2))
    return float(similarity.mean())


def fit_affine(image: Floats, reference: Floats) -> Floats:
    """a·image + b with the least squared error to `reference`."""
    mi, mr = image.mean(), reference.mean()
    spread = float(np.mean((image - mi) ** 2))
    slope = float(np.mean((image - mi) * (reference - mr))) / spread if spread > 0 else 0.0
    return np.asarray(slope * (image - mi) + mr)


def score(
    pairs: Iterator[tuple[NDArray[np.generic], Floats]],
    restore: Callable[[NDArray[np.generic]], Floats],
    *,
    affine: bool = False,
) -> Score:
    scores, seconds = [], 0.0
    for noisy, clean in pairs:
        started = time.perf_counter()
        image = restore(noisy)
        seconds += time.perf_counter() - started
        if affine:
            image = fit_affine(image, clean)
        image = np.rint(np.clip(image, 0, PEAK))
        scores.append((psnr(image, clean), ssim(image, clean)))
    if not scores:
        raise InvalidArray("no image has a reference of the same name")
    means = np.mean(scores, axis=0)
    return Score(float(means[0]), float(means[1]), len(scores), seconds)


def _restore(denoiser: Denoiser, planes: NDArray[Any], normalize: str) -> NDArray[Any]:
    """Denoise (C, H, W) planes."""
    return denoiser.denoise(planes.transpose(1, 2, 0), normalize=normalize).transpose(2, 0, 1)


def _unit(pixels: NDArray[np.generic]) -> Floats:
    return pixels.astype(np.float64) / full_scale(pixels.dtype)


def _window(planes: Floats) -> Floats:
    """Separable 11-tap Gaussian, σ 1.5, valid region, over the last two axes."""
    taps = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()
    for axis in (-2, -1):
        length = planes.shape[axis] - 10
        parts = [tap * np.take(planes, range(i, i + length), axis=axis) for i, tap in enumerate(taps)]
        planes = np.sum(parts, axis=0)
    return planes
