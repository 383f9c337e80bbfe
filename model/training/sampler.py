"""What a training step draws: noisy crops, and clean ones where there are any, behind one seam.

A sampler keeps nothing from one draw to the next: what it draws depends on `rng` alone, which the trainer makes of
(seed, step), so that a resumed training draws what an undisturbed one would have drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from model.arrays.normalise import Normalisation
from model.arrays.pixels import Pixels, full_scale
from model.config import TrainConfig
from model.noise.poisson_gaussian import NoiseName, draw_level

Crops = NDArray[np.float32]
FIXED_NOISE = 0x5EED  # stands for the step in the seed of a noise that is drawn once


class Pairs(NamedTuple):
    """What a step sees.

    Attributes:
        noisy: (B, C, H, W) in normalised units, never clipped; H and W multiples of 32. With frames that a network sees
            beside the page, theirs follow its channels.
        clean: (B, C, H, W), or None where nobody knows it.
        indices: B numbers of the images that they came from.
        targets: (B, 2·C, H, W), two other frames of the same scene, NaN where they do not show it; or None.
    """

    noisy: Crops
    clean: Crops | None
    indices: list[int]
    targets: Crops | None = None


class Sampler(Protocol):
    """The seam: where a training's images come from, from disk or made up."""

    def draw(self, count: int, rng: np.random.Generator) -> Pairs:
        """`count` pairs, by `rng` alone."""
        ...


def of_images(config: TrainConfig, images: Sequence[Pixels], scaling: Normalisation | None = None) -> Sampler:
    """The sampler that `config` describes, of images (C, H, W) in memory; `scaling` as in `CropSampler`.

    Raises:
        ValueError: no noise of that name.
    """
    noise: NoiseName = config.noise  # type: ignore[assignment]
    if config.fixed_noise:
        fixed = _with_noise(images, noise, config.seed, config.noisy_targets)
        return FixedPairs(CropSampler(fixed, config.crop, config.gain_probability, scaling))
    return NoisyCrops(CropSampler(images, config.crop, config.gain_probability, scaling), noise, config.noisy_targets)


@dataclass(frozen=True)
class NoisyCrops:
    """Crops, and noise of the level called `noise` drawn anew for each; `none`: the images are noisy themselves.

    With `noisy_targets` the place of the clean crop is taken by another draw of the same noise.
    """

    crops: CropSampler
    noise: NoiseName
    noisy_targets: bool = False

    def draw(self, count: int, rng: np.random.Generator) -> Pairs:
        """See `Sampler`; `clean` is None when the images are noisy by themselves."""
        crops, indices = self.crops.draw(count, rng)
        if self.noise == "none":
            return Pairs(crops, None, indices)
        levels = [draw_level(self.noise, rng) for _ in crops]
        noisy = np.stack([level.add(crop, rng) for level, crop in zip(levels, crops, strict=True)])
        if self.noisy_targets:
            crops = np.stack([level.add(crop, rng) for level, crop in zip(levels, crops, strict=True)])
        return Pairs(noisy, crops, indices)


@dataclass(frozen=True)
class FixedPairs:
    """Crops of images whose noise was drawn once: `crops` are of 2C channels, noisy ones and then their targets."""

    crops: CropSampler

    def draw(self, count: int, rng: np.random.Generator) -> Pairs:
        """See `Sampler`."""
        both, indices = self.crops.draw(count, rng)
        noisy, target = np.split(both, 2, axis=1)
        return Pairs(np.ascontiguousarray(noisy), np.ascontiguousarray(target), indices)


@dataclass(frozen=True)
class CropSampler:
    """Draws random crops, flipped and turned (the dihedral group of the square), as float in [0, 1].

    Attributes:
        images: (C, H, W) arrays of any real type; integers are divided by their full scale.
        crop: side of a crop in pixels; smaller images are reflected up to it.
        gain_probability: share of crops that are darkened by a random gain in [0.2, 1] (dim scenes are common in
            microscopy and rare among photographs).
        scaling: another map from file values to normalised units.
    """

    images: Sequence[Pixels]
    crop: int
    gain_probability: float = 0.0
    scaling: Normalisation | None = None

    def draw(self, count: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], list[int]]:
        """`count` crops (B, C, crop, crop) and the index of the image each came from."""
        indices = [int(i) for i in rng.integers(len(self.images), size=count)]
        return np.stack([self._one(i, rng) for i in indices]), indices

    def _one(self, index: int, rng: np.random.Generator) -> NDArray[np.float32]:
        image = self.images[index]
        _, height, width = image.shape
        if min(height, width) < self.crop:
            pad = [(0, 0), (0, max(0, self.crop - height)), (0, max(0, self.crop - width))]
            image = np.pad(image, pad, mode="symmetric")
            _, height, width = image.shape
        top, left = rng.integers(height - self.crop + 1), rng.integers(width - self.crop + 1)
        window = image[:, top : top + self.crop, left : left + self.crop]
        scaling = self.scaling or Normalisation(0.0, full_scale(image.dtype))
        out = scaling.to_unit(window)
        if self.gain_probability and rng.random() < self.gain_probability:
            out = out * np.float32(rng.uniform(0.2, 1.0))
        return turned(out, rng)


def turned(crop: Crops, rng: np.random.Generator) -> Crops:
    """A crop (C, side, side) flipped and turned by chance."""
    out = np.rot90(crop, int(rng.integers(4)), axes=(1, 2))
    return np.ascontiguousarray(out[:, :, ::-1] if rng.random() < 0.5 else out)


def _with_noise(images: Sequence[Pixels], noise: NoiseName, seed: int, noisy_targets: bool) -> list[Pixels]:
    """Each image with one draw of one level, as a real data set would have it, and its target beside it: (2C, H, W)."""
    rng = np.random.default_rng((seed, FIXED_NOISE))
    level = draw_level(noise, rng)
    clean = [image.astype(np.float32) / np.float32(full_scale(image.dtype)) for image in images]
    noisy = [level.add(image, rng) for image in clean]
    targets = [level.add(image, rng) for image in clean] if noisy_targets else clean
    return [np.concatenate(pair) for pair in zip(noisy, targets, strict=True)]
