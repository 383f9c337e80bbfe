"""Images that are what they show: nothing in them is a mosaic of colour sites, missing, or line noise.

Each drawer makes what has been, or could be, taken for one: repeating patterns, constant areas, few levels, ends of the
range that are the scene's own.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tests.harness.random_scenes import cells, fractal, sky

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]
Random = np.random.Generator
NOISE = 2.0  # gray levels, of what a sensor saw


def draw(seed: int, photographs: Sequence[Bytes] = (), side: int = 256) -> tuple[str, Bytes]:
    """What the image of a seed is, and its pixels (H, W).

    Args:
        photographs: scenes to draw from; without, scenes are made.
        side: of the image in pixels.
    """
    rng = np.random.default_rng(seed)
    drawer = DRAWERS[seed % len(DRAWERS)]
    return drawer.__name__, drawer(rng, scene(rng, photographs, side))


def scene(rng: Random, photographs: Sequence[Bytes], side: int) -> Floats:
    """A piece of a photograph, or a made scene, 0 … 1."""
    if not photographs:
        return (cells if rng.random() < 0.5 else fractal)(rng, side)
    image = photographs[rng.integers(len(photographs))]
    row, column = (rng.integers(0, max(length - side, 0) + 1) for length in image.shape)
    return image[row : row + side, column : column + side] / 255


def photograph(rng: Random, light: Floats) -> Bytes:
    """As it is."""
    return _rounded(255 * light + rng.normal(0, NOISE, light.shape))


def compressed(rng: Random, light: Floats) -> Bytes:
    """Out of a JPEG, with its blocks of 8 × 8."""
    data = io.BytesIO()
    Image.fromarray(photograph(rng, light)).save(data, "JPEG", quality=int(rng.integers(10, 90)))
    return np.asarray(Image.open(data))


def saturated(rng: Random, light: Floats) -> Bytes:
    """Overexposed: large areas at the upper end."""
    return _rounded(255 * light * rng.uniform(2, 5) + rng.normal(0, NOISE, light.shape))


def underexposed(rng: Random, light: Floats) -> Bytes:
    """Large areas at black, with the noise that rises above it."""
    low = np.quantile(light, rng.uniform(0.3, 0.7))
    return _rounded(255 * (light - low) + rng.normal(0, NOISE, light.shape))


def black_sky(rng: Random, light: Floats) -> Bytes:
    """Stars on exact black."""
    found = sky(rng, light.shape[0])[:, : light.shape[1]]
    return _rounded(40 * (found - np.quantile(found, 0.8)) + rng.normal(0, 0.4, found.shape))


def halftone(rng: Random, light: Floats) -> Bytes:
    """Printed by a screen of ordered dots, 2 to 8 pixels apart."""
    pitch = int(2 ** rng.integers(1, 4))
    screen = rng.permutation(pitch * pitch).reshape(pitch, pitch) / (pitch * pitch)
    tiled = np.tile(screen, (-(-light.shape[0] // pitch), -(-light.shape[1] // pitch)))
    return np.where(light > tiled[: light.shape[0], : light.shape[1]], 235, 20).astype(np.uint8)


def scanned_halftone(rng: Random, light: Floats) -> Bytes:
    """The same seen by a scanner."""
    return _rounded(0.8 * halftone(rng, light) + 20 + rng.normal(0, NOISE, light.shape))


def enlarged(rng: Random, light: Floats) -> Bytes:
    """By whole factors, each pixel a square."""
    factor = int(rng.integers(2, 6))
    small = photograph(rng, light[::factor, ::factor])
    return small.repeat(factor, 0).repeat(factor, 1)[: light.shape[0], : light.shape[1]]


def blinds(rng: Random, light: Floats) -> Bytes:
    """Slats before a scene, some pixels apart, level or upright."""
    pitch = rng.uniform(2, 40)
    wave = (np.arange(light.shape[0]) + rng.uniform(0, pitch)) % pitch / pitch < rng.uniform(0.3, 0.7)
    slats = np.where(wave[:, None], rng.uniform(0.2, 0.9), 1.0) * np.ones_like(light)
    slats = slats if rng.random() < 0.5 else np.ascontiguousarray(slats.T)[: light.shape[0], : light.shape[1]]
    return photograph(rng, light * slats)


def mesh(rng: Random, light: Floats) -> Bytes:
    """Woven: a checkerboard or a grid of two pixels over a scene."""
    y, x = np.mgrid[: light.shape[0], : light.shape[1]]
    thread = (y + x) % 2 if rng.random() < 0.5 else (y % 2) * (x % 2)
    return photograph(rng, light * (1 - rng.uniform(0.1, 0.5) * thread))


def building(rng: Random, light: Floats) -> Bytes:
    """A facade: windows in rows and columns."""
    y, x = np.mgrid[: light.shape[0], : light.shape[1]]
    high, wide = rng.uniform(8, 40, 2)
    windows = (y % high < 0.6 * high) & (x % wide < 0.6 * wide)
    return photograph(rng, 0.2 + 0.4 * light + 0.35 * windows)


def page_of_text(rng: Random, light: Floats) -> Bytes:
    """Black letters on white paper, scanned or exact."""
    image = Image.new("L", light.shape[::-1], 250)
    pen = ImageDraw.Draw(image)
    for row in range(4, light.shape[0] - 12, 14):
        pen.text((6, row), "".join(chr(letter) for letter in rng.integers(33, 122, 60)), fill=10)
    exact = np.asarray(image)
    return exact if rng.random() < 0.5 else _rounded(exact + rng.normal(0, NOISE, light.shape))


def screen(rng: Random, light: Floats) -> Bytes:
    """Windows of a screen: rectangles of one colour, one of them with a picture."""
    found = np.full(light.shape, rng.integers(0, 256), np.float64)
    for _ in range(8):
        row, column = (int(rng.integers(0, length - 16)) for length in light.shape)
        found[row : row + rng.integers(16, 128), column : column + rng.integers(16, 128)] = rng.integers(0, 256)
    found[60:180, 40:200] = 255 * light[60:180, 40:200]
    return _rounded(found)


def letterbox(rng: Random, light: Floats) -> Bytes:
    """A frame of a film between black bars, which a coder has made uneven."""
    found = 255 * light + rng.normal(0, NOISE, light.shape)
    bar = int(rng.integers(8, 40))
    found[:bar] = found[-bar:] = 16 + rng.normal(0, 0.7, (bar, light.shape[1]))
    return _rounded(found)


def few_levels(rng: Random, light: Floats) -> Bytes:
    """Posterised to 2 to 12 levels."""
    levels = int(rng.integers(2, 13))
    return _rounded(np.floor(light * levels).clip(0, levels - 1) * 255 / (levels - 1))


def gradient(rng: Random, light: Floats) -> Bytes:
    """A smooth ramp, in bands of one level."""
    y, x = np.mgrid[: light.shape[0], : light.shape[1]] / max(light.shape)
    return _rounded(255 * (rng.uniform(0, 1) * y + rng.uniform(0, 1) * x) / 2)


DRAWERS: tuple[Callable[[Random, Floats], Bytes], ...] = (
    photograph, compressed, saturated, underexposed, black_sky, halftone, scanned_halftone, enlarged, blinds, mesh,
    building, page_of_text, screen, letterbox, few_levels, gradient,
)  # fmt: skip


def _rounded(values: Floats) -> Bytes:
    return values.round().clip(0, 255).astype(np.uint8)
