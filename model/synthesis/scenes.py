"""Clean scenes: photographs as they are, as other instruments see the world, and what is drawn.

The scene is half of what a denoiser learns: at pixel level a phone's photograph is smooth, and a microscope or a
telescope samples its point spread with several pixels, so that photographs as they are stand for neither.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, pi

import numpy as np

from model.arrays.pixels import Pixels
from model.synthesis.filters import Array, blurred_inside, resized
from model.synthesis.ranges import LogUniform, Mixture, Range, Uniform, happens
from model.training.sampler import CropSampler

Scene = Callable[[int, np.random.Generator], Array]


@dataclass(frozen=True)
class Photographs:
    """Crops of photographs, flipped and turned.

    Attributes:
        images: (C, H, W) integer arrays, divided by their full scale.
    """

    images: Sequence[Pixels]

    def __call__(self, side: int, rng: np.random.Generator) -> Array:
        crop: Array = CropSampler(self.images, side).draw(1, rng)[0][0]
        return crop


@dataclass(frozen=True)
class Enlarged:
    """Scenes enlarged, as a demosaicked photograph shows the world at pixel level."""

    scene: Scene
    factor: Range = Uniform(1.3, 3.5)

    def __call__(self, side: int, rng: np.random.Generator) -> Array:
        part = max(8, ceil(side / self.factor.draw(rng)))
        return np.clip(resized(self.scene(part, rng), side, side), 0, 1)


@dataclass(frozen=True)
class Blurred:
    """Scenes through a point spread function, a Gaussian of `sigma` pixels: microscopes and telescopes oversample."""

    scene: Scene
    sigma: Range = Uniform(0.4, 2.5)

    def __call__(self, side: int, rng: np.random.Generator) -> Array:
        sigma = self.sigma.draw(rng)
        return blurred_inside(self.scene(side + 2 * max(1, ceil(3 * sigma)), rng), sigma)


@dataclass(frozen=True)
class Curved:
    """Scenes whose brightness is bent: dark sparse fields, X-rays and negatives, gain and pedestal.

    x → (x − min or inverted) / max, to a power, times `gain`, plus `pedestal`.
    """

    scene: Scene
    inverted: float = 0.3
    from_zero: float = 0.5
    power: Range = Uniform(1.0, 4.0)
    gain: Range = Uniform(0.2, 1.0)
    pedestal: Range = Uniform(0.0, 0.15, skew=2.0)

    def __call__(self, side: int, rng: np.random.Generator) -> Array:
        scene = self.scene(side, rng)
        if happens(self.from_zero, rng):
            scene = scene - scene.min()
        if happens(self.inverted, rng):
            scene = scene.max() - scene
        scene = scene / max(0.05, float(scene.max()))
        bent = scene ** self.power.draw(rng) * self.gain.draw(rng) + self.pedestal.draw(rng)
        out: Array = np.minimum(bent, 1.0).astype(np.float32)
        return out


@dataclass(frozen=True)
class Dimmed:
    """Scenes in less light."""

    scene: Scene
    gain: Range = Uniform(0.2, 1.0)

    def __call__(self, side: int, rng: np.random.Generator) -> Array:
        return self.scene(side, rng) * np.float32(self.gain.draw(rng))


@dataclass(frozen=True)
class Puncta:
    """Points of light on a dark ground, each a Gaussian: stars, vesicles, single molecules."""

    channels: int
    density: Range = LogUniform(2e-4, 2e-2)  # points a pixel
    width: Range = Uniform(0.5, 2.5)  # sigma in pixels
    brightness: Range = LogUniform(0.02, 1.0)
    ground: Range = Uniform(0.0, 0.3, skew=2.0)

    def __call__(self, side: int, rng: np.random.Generator) -> Array:
        width, ground = self.width.draw(rng), self.ground.draw(rng)
        margin = ceil(3 * width)
        count = rng.poisson(self.density.draw(rng) * (side + 2 * margin) ** 2)
        light = np.zeros((self.channels, side + 2 * margin, side + 2 * margin), np.float32)
        places = rng.integers(0, side + 2 * margin, (2, count))
        low, high = np.log(self.brightness.low), np.log(self.brightness.high)
        peaks = np.exp(rng.uniform(low, high, count))
        tints = 1 - rng.random((self.channels, count)) * rng.random() if self.channels > 1 else np.ones((1, count))
        for channel in range(self.channels):
            np.add.at(light[channel], (places[0], places[1]), (peaks * tints[channel]).astype(np.float32))
        light = blurred_inside(light, width) * np.float32(2 * pi * width**2)  # a point's peak keeps its brightness
        out: Array = np.clip(ground + (1 - ground) * light, 0, 1).astype(np.float32)
        return out


@dataclass(frozen=True)
class Filaments:
    """Curved threads on a dark ground: the cytoskeleton, vessels, scratches and hairs."""

    channels: int
    count: Range = Uniform(1, 12)
    width: Range = Uniform(0.5, 2.5)  # sigma in pixels
    brightness: Range = Uniform(0.1, 1.0)
    ground: Range = Uniform(0.0, 0.3, skew=2.0)
    turning: float = 0.05  # radians a pixel, standard deviation

    def __call__(self, side: int, rng: np.random.Generator) -> Array:
        width, ground = self.width.draw(rng), self.ground.draw(rng)
        margin = ceil(3 * width)
        size = side + 2 * margin
        light = np.zeros((self.channels, size, size), np.float32)
        for _ in range(round(self.count.draw(rng))):
            angles = rng.uniform(0, 2 * pi) + np.cumsum(rng.normal(0, self.turning, 2 * size))
            rows = (rng.uniform(0, size) + np.cumsum(np.sin(angles))).astype(int)
            columns = (rng.uniform(0, size) + np.cumsum(np.cos(angles))).astype(int)
            inside = (rows >= 0) & (rows < size) & (columns >= 0) & (columns < size)
            colour = self.brightness.draw(rng) * (1 - 0.5 * rng.random((self.channels, 1)))
            light[:, rows[inside], columns[inside]] = np.maximum(light[:, rows[inside], columns[inside]], colour)
        light = blurred_inside(light, width) * np.float32(
            (2 * pi) ** 0.5 * width
        )  # a thread's ridge keeps its brightness
        out: Array = np.clip(ground + (1 - ground) * light, 0, 1).astype(np.float32)
        return out


@dataclass(frozen=True)
class OneOf:
    """A scene of one kind or another."""

    kinds: Mixture[Scene]

    def __call__(self, side: int, rng: np.random.Generator) -> Array:
        return self.kinds.draw(rng)(side, rng)
