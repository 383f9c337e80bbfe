"""Random scenes with known truth: a wide range of brightness, gaps, lines, counts, texture, by random instruments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Random = np.random.Generator
BLOCK = 32


@dataclass(frozen=True)
class Case:
    """A noisy image, its truth, and the pixels that measured something; (H, W) each."""

    kind: str
    noisy: NDArray[Any]
    truth: Floats
    measured: NDArray[np.bool_]


def draw(seed: int, side: int = 256) -> Case:
    """The case of a seed: a scene of some kind, behind some instrument."""
    rng = np.random.default_rng(seed)
    scene = SCENES[seed % len(SCENES)]
    light = scene(rng, side)
    instrument = INSTRUMENTS[seed // len(SCENES) % len(INSTRUMENTS)]
    noisy, truth = instrument(rng, light)
    measured = np.ones(light.shape, bool)
    if rng.random() < 0.25 and noisy.dtype.kind == "f":
        row, column = rng.integers(0, side - 40, 2)
        measured[row : row + 40, column : column + 24] = False
        noisy = np.where(measured, noisy, np.nan).astype(noisy.dtype)
    return Case(f"{scene.__name__} by {instrument.__name__}", noisy, truth, measured)


@dataclass(frozen=True)
class Comparison:
    """How many blocks there are, came back worse, or with another mean, and the largest error over the noise."""

    blocks: int
    worse: int
    moved: int
    largest: float


def compare(case: Case, result: NDArray[Any]) -> Comparison:
    """Result against truth in blocks of 32 × 32 pixels, those left out of which less than a quarter was measured."""
    there = _in_blocks(case.measured)
    count = there.sum(1)
    enough = count > BLOCK**2 // 4
    noisy, truth, result = (np.where(there, _in_blocks(of), 0)[enough] for of in (case.noisy, case.truth, result))
    count = count[enough]
    step = 0.5 if case.noisy.dtype.kind in "ui" else 0.0
    before, after = (np.sqrt(((of - truth) ** 2).sum(1) / count) for of in (noisy, result))
    mean, mean_after = noisy.sum(1) / count, result.sum(1) / count
    moved = np.abs(mean_after - mean) > 0.01 * np.abs(mean) + 5 * before / np.sqrt(count) + step
    worse = after > 1.05 * before + step
    largest = float((after / np.maximum(before + step, 1e-300)).max())
    return Comparison(len(count), int(worse.sum()), int(moved.sum()), largest)


def named_blocks(case: Case, result: NDArray[Any], regions: list[dict[str, Any]]) -> tuple[int, int]:
    """How many blocks the report's regions name, and how many of them came back worse."""
    named = worse = 0
    for at in regions:
        place = np.s_[at["y"] : at["y"] + at["height"], at["x"] : at["x"] + at["width"]]
        part = Case(case.kind, case.noisy[place], case.truth[place], case.measured[place])
        found = compare(part, result[place])
        named, worse = named + found.blocks, worse + found.worse
    return named, worse


def _in_blocks(image: NDArray[Any]) -> NDArray[Any]:
    rows, columns = image.shape[0] // BLOCK, image.shape[1] // BLOCK
    cut = image[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK).transpose(0, 2, 1, 3)
    blocks = cut.reshape(rows * columns, BLOCK**2)
    return blocks if image.dtype == bool else blocks.astype(np.float64)


def cells(rng: Random, side: int) -> Floats:
    """Blobs and filaments, 0 … 1."""
    y, x = np.mgrid[:side, :side]
    found = np.zeros((side, side))
    for _ in range(side // 8):
        row, column, spread = rng.uniform(0, side), rng.uniform(0, side), rng.uniform(3, 14)
        found += rng.uniform(0.2, 1) * np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * spread**2))
    for _ in range(8):
        turn = rng.uniform(0, np.pi)
        away = (x - rng.uniform(0, side)) * np.sin(turn) - (y - rng.uniform(0, side)) * np.cos(turn)
        found += 0.4 * np.exp(-(away**2) / rng.uniform(1, 6))
    return found / found.max()


def fractal(rng: Random, side: int) -> Floats:
    """Texture of spectrum 1/f^p, 0 … 1; a rougher one of this kind is noise itself."""
    rows, columns = np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None]
    power = rng.uniform(1.6, 2.4)
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = 1
    spectrum = np.fft.fft2(rng.normal(size=(side, side))) / frequency**power
    found = np.fft.ifft2(spectrum).real
    return (found - found.min()) / np.ptp(found)


def beside_bright(rng: Random, side: int) -> Floats:
    """Dim cells and a few objects up to a thousand times as bright."""
    y, x = np.mgrid[:side, :side]
    found = 0.05 + cells(rng, side)
    for _ in range(rng.integers(1, 4)):
        row, column, spread = rng.uniform(0, side), rng.uniform(0, side), rng.uniform(3, 12)
        found += 10 ** rng.uniform(1, 3) * np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * spread**2))
    return found


def sky(rng: Random, side: int) -> Floats:
    """Stars over four magnitudes on a glow."""
    y, x = np.mgrid[:side, :side]
    found = 1 + 0.3 * np.exp(-((y - side / 2) ** 2 + (x - side / 3) ** 2) / (2 * (side / 5) ** 2))
    for _ in range(60):
        row, column, spread = rng.uniform(0, side), rng.uniform(0, side), rng.uniform(1.2, 2)
        found += 10 ** rng.uniform(-1, 3) * np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * spread**2))
    return found


def rooms(rng: Random, side: int) -> Floats:
    """Parts of different brightness side by side, each with texture of its own."""
    found = np.empty((side, side))
    edges = [0, *sorted(rng.integers(side // 8, side - side // 8, rng.integers(1, 4))), side]
    for left, right in pairwise(edges):
        found[:, left:right] = (10 ** rng.uniform(-1.5, 1.5) * (0.3 + fractal(rng, side)))[:, left:right]
    return found


def texture(rng: Random, side: int) -> Floats:
    """One texture everywhere."""
    return 0.2 + fractal(rng, side)


def stripes(rng: Random, side: int) -> Floats:
    """A scene with lines of its own: blinds, gratings."""
    y, x = np.mgrid[:side, :side]
    wave = np.sin((x * rng.uniform(-1, 1) + y) * 2 * np.pi / rng.uniform(4, 24))
    return 0.3 + cells(rng, side) + np.where(fractal(rng, side) > 0.5, 0.2 * (1 + wave), 0)


def counting(rng: Random, light: Floats) -> tuple[NDArray[Any], Floats]:
    """Photons as 16-bit numbers."""
    truth = light / np.median(light) * 10 ** rng.uniform(0.5, 3)
    truth = np.minimum(truth, 60_000)
    return rng.poisson(truth).astype(np.uint16), truth


def camera(rng: Random, light: Floats) -> tuple[NDArray[Any], Floats]:
    """Photons on a pedestal with read noise, 16-bit."""
    photons = light / np.median(light) * 10 ** rng.uniform(0.5, 3.5)
    photons = np.minimum(photons, 60_000)
    gain, read = 10 ** rng.uniform(-0.5, 0.5), 10 ** rng.uniform(0, 1)
    truth = np.minimum(100 + gain * photons, 65_000)
    noisy = 100 + gain * (rng.poisson(photons) + rng.normal(0, read, light.shape))
    return np.clip(noisy.round(), 0, 65_535).astype(np.uint16), truth


def floating(rng: Random, light: Floats) -> tuple[NDArray[Any], Floats]:
    """The same in arbitrary units as floats."""
    noisy, truth = camera(rng, light)
    unit = 10 ** rng.uniform(-6, 6)
    truth = (truth - 100) * unit
    return ((noisy.astype(float) - 100) * unit).astype(np.float32), truth


def eight_bit(rng: Random, light: Floats) -> tuple[NDArray[Any], Floats]:
    """A picture of 8 bits, its brightest part cut off."""
    truth = np.minimum(light / np.percentile(light, rng.uniform(90, 99.9)) * 230 + 10, 250)
    sigma, alpha = rng.uniform(1, 12), rng.uniform(0, 0.5)
    noisy = truth + rng.normal(size=light.shape) * np.sqrt(sigma**2 + alpha * truth)
    return np.clip(noisy.round(), 0, 255).astype(np.uint8), truth


def even(rng: Random, light: Floats) -> tuple[NDArray[Any], Floats]:
    """Noise of one variance, weak or strong against the scene's range, floats."""
    truth = light / np.percentile(light, 99.9)
    noisy = truth + rng.normal(0, 10 ** rng.uniform(-3, -0.5), light.shape)
    return noisy.astype(np.float32), truth


SCENES: list[Callable[[Random, int], Floats]] = [beside_bright, sky, rooms, texture, stripes, cells]
INSTRUMENTS: list[Callable[[Random, Floats], tuple[NDArray[Any], Floats]]] = [
    counting, camera, floating, eight_bit, even,
]  # fmt: skip
