"""Whether the channels of an image show one scene, as those of a photograph do, or each its own, as fluorescence's."""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.arrays import intensity
from model.arrays.missing import Missing, filled

FINE, COARSE = 8, 32  # sides of the squares whose means are compared: a noise that is correlated fades in the larger
FEWEST = 64  # squares; of fewer nothing can be told
RELATED = 0.35  # mean correlation of fine squares. Photographs at every noise level: 0.38 … 0.98; one cell: 0.04 … 0.29
COARSELY_RELATED = 0.65  # of coarse ones. Channels of one cell lie in the same places: up to 0.56
ONE_CAMERA = 0.25  # correlation of two channels' noise. Behind a colour mosaic 0.40 … 0.59; one exposure each ≤ 0.02
LARGEST_NOISE = 0.95  # share of the squares' differences that noise may be; what it estimates contains texture
MOST_SQUARES = 1 << 15
FLAT_SIDE, FLATTEST, FEWEST_FLAT = 16, 0.2, 12  # noise alone is seen in the flattest fifth of such squares
Floats = NDArray[np.float32]


class Relation(Enum):
    """What the channels of an image are to each other."""

    ONE_INTENSITY = "one intensity"  # they follow it: gray stored as colour; a gray model is for it
    ONE_SCENE = "one scene"  # they measure it, each with its own noise: a photograph
    UNRELATED = "unrelated"  # each shows its own


def relation(stack: NDArray[Any], missing: Missing | None = None) -> Relation:
    """What the channels of a stack (N, H, W, C) are to each other; pages are taken to be alike in that.

    Args:
        missing: which pixels measured nothing: they are filled first.
    """
    if intensity.find(stack):
        return Relation.ONE_INTENSITY
    index = len(stack) // 2
    page = stack[index] if missing is None else filled(stack[index], missing.of(index, stack[index]))
    return Relation.ONE_SCENE if are_related(page) else Relation.UNRELATED


def are_related(image: NDArray[Any]) -> bool:
    """Whether a model that was trained on photographs may use one channel to restore another.

    Three signs, of which one is enough: the differences of neighbouring squares' means correlate between channels (the
    noise's share taken out of their variances); those of larger squares do; or the noise does, which demosaicking
    makes and separate exposures do not. True where nothing can be told.

    Args:
        image: (H, W, C).
    """
    height, width, channels = image.shape
    if channels < 2 or (height // FINE) * (width // FINE) < FEWEST:
        return True
    rows = min(height // FINE, max(1, MOST_SQUARES // (width // FINE)))  # of a huge image its middle rows will do
    top = (height // FINE - rows) // 2 * FINE
    image = image[top : top + rows * FINE].astype(np.float32)
    if _correlation(image, FINE) >= RELATED:
        return True
    enough = (image.shape[0] // COARSE) * (width // COARSE) >= FEWEST
    return (enough and _correlation(image, COARSE) >= COARSELY_RELATED) or _noise_correlation(image) >= ONE_CAMERA


def _correlation(image: Floats, side: int) -> float:
    """Mean correlation between channels of the differences of neighbouring squares' means; 1 of a constant image."""
    height, width, channels = image.shape
    rows, columns = height // side, width // side
    image = image[: rows * side, : columns * side]
    lines = image.reshape(rows, side, -1).sum(1)  # in two steps: NumPy sums along two axes at once eight times slower
    squares = lines.reshape(rows, columns, side, channels).sum(2).astype(np.float64) / side**2
    across, down = np.diff(squares, axis=1).reshape(-1, channels), np.diff(squares, axis=0).reshape(-1, channels)
    steps = np.concatenate([across, down])
    covariance = steps.T @ steps / len(steps)
    total = np.diagonal(covariance)
    signal = np.maximum(total - 2 * pixel_variance(image) / side**2, (1 - LARGEST_NOISE) * total)
    if not signal.any():
        return 1.0
    scale = np.sqrt(np.outer(signal, signal))
    pairs = np.triu_indices(channels, 1)
    correlation = np.divide(covariance[pairs], scale[pairs], out=np.zeros(len(pairs[0])), where=scale[pairs] > 0)
    return float(correlation.mean())


def pixel_variance(image: Floats) -> NDArray[np.float64]:
    """Variance (C,) of what differs from pixel to pixel: mean square of the diagonal differences of 2 × 2 pixels."""
    down = image[: len(image) // 2 * 2 : 2] - image[1::2]
    down = down[:, : down.shape[1] // 2 * 2]
    steps = (down[:, ::2] - down[:, 1::2]).reshape(-1, image.shape[-1])
    found: NDArray[np.float64] = np.einsum("nc,nc->c", steps, steps, dtype=np.float64) / (4 * len(steps))
    return found


def _noise_correlation(image: Floats) -> float:
    """The strongest correlation of two channels within the squares that are flattest in all; 0 where there are few."""
    side = FLAT_SIDE
    rows, columns, channels = image.shape[0] // side, image.shape[1] // side, image.shape[-1]
    cut = image[: rows * side, : columns * side].reshape(rows, side, columns, side, channels)
    squares = cut.transpose(0, 2, 1, 3, 4).reshape(rows * columns, side * side, channels)
    ramp = np.arange(side) - (side - 1) / 2
    plane = np.stack([np.ones(side * side), np.repeat(ramp, side), np.tile(ramp, side)], 1)
    plane = (plane / np.linalg.norm(plane, axis=0)).astype(np.float32)  # orthonormal
    rest = squares - plane @ (plane.T @ squares)
    variance = np.einsum("npc,npc->nc", rest, rest) / side**2
    noisy = (variance > 0).all(1)
    rest, variance = rest[noisy], variance[noisy]
    count = int(FLATTEST * len(rest))
    if count < FEWEST_FLAT:
        return 0.0
    rest = rest[np.argsort((variance / np.median(variance, 0)).sum(1))[:count]]
    covariance = np.einsum("npc,npd->cd", rest, rest, dtype=np.float64)
    scale = np.sqrt(np.diagonal(covariance))
    correlation = np.abs(covariance / np.outer(scale, scale))  # a camera's colour matrix can make it negative
    return float(correlation[np.triu_indices(channels, 1)].max())
