"""Training images in memory and the crops a step draws from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from model.normalise import Normalisation

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".npy")
Pixels = NDArray[Any]
SkipHandler = Callable[[Path, str], None]


class NoImagesError(ValueError):
    """A folder holds no image that could be read."""


def image_files(folder: Path) -> list[Path]:
    """Image files of a folder, sorted by name.

    Raises:
        NoImagesError: the folder has none.
    """
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES) if folder.is_dir() else []
    if not files:
        raise NoImagesError(f"{folder}: no image files ({', '.join(SUFFIXES)}) in this folder")
    return files


def read_pixels(path: Path) -> Pixels:
    """Pixels of an image file as stored, (H, W) or (H, W, C); palettes and bilevel images are expanded."""
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return np.asarray(np.load(path, allow_pickle=False))
    if suffix in (".tif", ".tiff"):
        return np.asarray(tifffile.imread(path))
    with Image.open(path) as image:
        if image.mode in ("P", "RGBA", "PA", "CMYK", "YCbCr", "LAB", "HSV"):
            return np.asarray(image.convert("RGB"))
        return np.asarray(image.convert("L") if image.mode in ("1", "LA") else image)


def full_scale(dtype: np.dtype[Any]) -> float:
    """The value that stands for 1.0 in arrays of this type: the largest integer, or 1 for floats."""
    return float(np.iinfo(dtype).max) if np.issubdtype(dtype, np.integer) else 1.0


def to_channels(pixels: Pixels, channels: int) -> Pixels:
    """(H, W) or (H, W, C) pixels as (channels, H, W): luma (ITU-R BT.601) for one channel, repeats for more.

    Raises:
        ValueError: the pixels have a channel count that cannot become `channels`.
    """
    planes = pixels[..., None] if pixels.ndim == 2 else pixels
    have = planes.shape[-1]
    if have == channels:
        out = planes
    elif have == 3 and channels == 1:
        luma = planes.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
        out = (np.rint(luma) if np.issubdtype(pixels.dtype, np.integer) else luma).astype(pixels.dtype)[..., None]
    elif have == 1:
        out = np.repeat(planes, channels, -1)
    else:
        raise ValueError(f"{have} channels cannot be used to train a {channels}-channel model")
    return np.ascontiguousarray(out.transpose(2, 0, 1))


def read_training_set(folder: Path, channels: int, on_skip: SkipHandler | None = None) -> list[Pixels]:
    """Every readable image of a folder as (C, H, W); `on_skip(path, reason)` is told of each that is not.

    Raises:
        NoImagesError: none could be read.
    """
    images, reasons = [], []
    for path in image_files(folder):
        try:
            images.append(to_channels(read_pixels(path), channels))
        except Exception as error:
            # Decoders raise anything at all for broken bytes; one bad file must not end a night's training.
            reasons.append(f"{path.name}: {error}")
            if on_skip:
                on_skip(path, str(error))
    if not images:
        raise NoImagesError(f"{folder}: none of {len(reasons)} files could be read ({reasons[0]})")
    return images


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
        out = np.rot90(out, int(rng.integers(4)), axes=(1, 2))
        return np.ascontiguousarray(out[:, :, ::-1] if rng.random() < 0.5 else out)
