"""Makes the sample images of this folder: `python examples/make.py` writes them beside itself, always the same.

Both scenes are computed, no photograph is used. The noise is what a camera adds, Poisson-Gaussian:
variance = alpha * signal + sigma^2, with the signal scaled to 0..1.

    noisy.png   320 x 240 RGB, 8 bit: a mountain lake, alpha = 0.008, sigma = 0.03
    cells.tif   256 x 256 gray, 16 bit: fluorescent cells, 40 photons at white, 2 electrons of read noise, offset 100
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]
WIDTH, HEIGHT = 320, 240
SEED = 7


def fractal(rng: np.random.Generator, height: int, width: int, slope: float) -> Array:
    """A random field in 0..1 whose spectrum falls as 1 / f^slope; slope 2 looks like clouds, 1 like rock."""
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    radius = np.hypot(fy, fx)
    radius[0, 0] = 1.0
    spectrum = np.fft.rfft2(rng.standard_normal((height, width))) / radius**slope
    field = np.fft.irfft2(spectrum, s=(height, width))
    field = (field - field.min()) / np.ptp(field)
    return np.asarray(field)


def ridge_line(rng: np.random.Generator, base: float, height: float, slope: float) -> Array:
    """Height of a mountain ridge above the image's bottom, per column."""
    line = fractal(rng, 1, 4 * WIDTH, slope)[0, :WIDTH]
    return np.asarray(base + height * (line - line.mean()) / max(float(np.ptp(line)), 1e-9))


def sky(rng: np.random.Generator) -> Array:
    """Evening sky, (H, W, 3): a gradient, a low sun, clouds lit from below."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] / HEIGHT
    top, horizon = np.array([0.16, 0.32, 0.62]), np.array([0.98, 0.74, 0.48])
    blend = np.clip(y / 0.55, 0, 1)[..., None] ** 1.3
    colour = top * (1 - blend) + horizon * blend
    glow = np.exp(-((x - 0.95) ** 2 + (y - 0.42) ** 2) / 0.03)[..., None]
    colour += glow * np.array([0.5, 0.35, 0.15])
    field = fractal(rng, HEIGHT, WIDTH, 1.6)
    clouds = np.clip((field - 0.52) * 4, 0, 0.75)[..., None] * np.clip(1.3 - 1.6 * y, 0, 1)[..., None]
    lit = np.array([1.0, 0.80, 0.68]) * (0.75 + 0.5 * fractal(rng, HEIGHT, WIDTH, 1.2)[..., None])
    return np.asarray(np.clip(colour * (1 - clouds) + lit * clouds, 0, 1))


def landscape(rng: np.random.Generator) -> Array:
    """A mountain lake at evening, (H, W, 3) in 0..1."""
    image = sky(rng)
    shore = int(0.64 * HEIGHT)
    rows = np.arange(HEIGHT)[:, None]
    haze, rock = np.array([0.80, 0.66, 0.58]), np.array([0.20, 0.22, 0.30])
    for depth, (top, tall) in enumerate([(0.40, 0.26), (0.47, 0.20), (0.545, 0.13), (0.60, 0.06)]):
        line = ridge_line(rng, top * HEIGHT, tall * HEIGHT, 1.35 - 0.12 * depth)
        inside = (rows >= line[None]) & (rows < shore)
        relief = fractal(rng, HEIGHT, WIDTH, 1.75)
        light = np.clip(0.55 + 22 * np.gradient(relief, axis=1), 0, 1.2)[..., None]
        near = (depth + 1) / 4
        shade = haze * (1 - near) + rock * near
        snow = np.clip(1.2 - (rows - line[None]) / (0.05 * HEIGHT), 0, 1)[..., None] * (depth == 0) * 0.8
        surface = shade * (0.55 + 0.75 * light) * (1 - snow) + snow * np.array([1.0, 0.93, 0.90]) * (0.6 + 0.5 * light)
        if depth == 3:
            surface = forest(rng, surface)
        image = np.where(inside[..., None], np.clip(surface, 0, 1), image)
    return lake(rng, image, shore)


def forest(rng: np.random.Generator, surface: Array) -> Array:
    """Dark green crowns over the nearest ridge."""
    crowns = fractal(rng, HEIGHT, WIDTH, 1.2)[..., None]
    return surface * 0.25 + np.array([0.07, 0.13, 0.08]) * (0.4 + 2.0 * crowns)


def lake(rng: np.random.Generator, image: Array, shore: int) -> Array:
    """Water below `shore`: the mirrored scene, broken by waves that grow towards the viewer, and a pebble beach."""
    depth = np.arange(HEIGHT - shore)[:, None]
    waves = fractal(rng, HEIGHT - shore, 6 * WIDTH, 1.0)[:, :WIDTH] - 0.5
    source = np.clip(shore - 1 - depth * 1.25 - waves * (4 + depth * 0.35), 0, shore - 1).astype(int)
    shift = np.clip(np.arange(WIDTH)[None] + waves * depth * 0.25, 0, WIDTH - 1).astype(int)
    water = image[source, shift] * np.array([0.72, 0.80, 0.88]) * (0.92 + 0.5 * waves[..., None])
    result = image.copy()
    result[shore:] = np.clip(water, 0, 1)
    stones = fractal(rng, HEIGHT, WIDTH, 1.45)
    edge = ridge_line(rng, 0.93 * HEIGHT, 0.10 * HEIGHT, 1.5)[None]
    beach = np.arange(HEIGHT)[:, None] >= edge
    light = np.clip(0.40 + 7 * np.gradient(stones, axis=1) + 0.9 * (stones - 0.5), 0, 1)[..., None]
    result[beach] = (np.array([0.62, 0.52, 0.44]) * light)[beach]
    return result


def cells(rng: np.random.Generator, side: int = 256) -> Array:
    """Fluorescent cells, (side, side) in 0..1: nuclei with texture, and filaments grown from them."""
    y, x = np.mgrid[0:side, 0:side].astype(float)
    image = np.zeros((side, side))
    for _ in range(11):
        cy, cx = rng.uniform(0, side, 2)
        tilt, long, short = rng.uniform(0, np.pi), rng.uniform(16, 26), rng.uniform(11, 16)
        u = (x - cx) * np.cos(tilt) + (y - cy) * np.sin(tilt)
        v = (y - cy) * np.cos(tilt) - (x - cx) * np.sin(tilt)
        body = 1 / (1 + np.exp(9 * (np.hypot(u / long, v / short) - 1)))
        image += 1.1 * body * (0.5 + fractal(rng, side, side, 1.3))
        for _ in range(9):
            image += 0.5 * filament(rng, cy, cx, side)
    return np.clip(image / np.quantile(image, 0.997), 0, 1)


def filament(rng: np.random.Generator, cy: float, cx: float, side: int) -> Array:
    """One thin curved fibre that starts at (cy, cx)."""
    steps = 220
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.035, steps))
    py, px = cy + np.cumsum(0.6 * np.sin(heading)), cx + np.cumsum(0.6 * np.cos(heading))
    image = np.zeros((side, side))
    offsets = np.arange(-3, 4)
    for fy, fx in zip(py.tolist(), px.tolist(), strict=True):
        rows, columns = round(fy) + offsets, round(fx) + offsets
        rows, columns = rows[(rows >= 0) & (rows < side)], columns[(columns >= 0) & (columns < side)]
        spot = np.exp(-((rows[:, None] - fy) ** 2 + (columns[None] - fx) ** 2) / 1.6)
        image[np.ix_(rows, columns)] = np.maximum(image[np.ix_(rows, columns)], spot)
    return image


def add_noise(rng: np.random.Generator, clean: Array, alpha: float, sigma: float) -> Array:
    """Poisson-Gaussian noise on a signal in 0..1: variance = alpha * signal + sigma^2."""
    return alpha * rng.poisson(clean / alpha) + rng.normal(0, sigma, clean.shape)


def write_all(folder: Path) -> None:
    """Write both images to `folder`."""
    rng = np.random.default_rng(SEED)
    noisy = add_noise(rng, landscape(rng), alpha=0.008, sigma=0.03)
    pixels = np.clip(np.rint(noisy * 255), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "noisy.png", optimize=True)
    counts = 100 + 50 * add_noise(rng, cells(rng) * 40, alpha=1.0, sigma=2.0)
    tifffile.imwrite(
        folder / "cells.tif",
        np.clip(np.rint(counts), 0, 65535).astype(np.uint16),
        compression="zlib",
        predictor=True,
        resolution=(92_300, 92_300),
        resolutionunit="CENTIMETER",
        software="examples/make.py",
        metadata=None,
    )


if __name__ == "__main__":
    write_all(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
