"""Whether the channels of an image show one scene, as those of a photograph do, or each its own, as fluorescence's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 8  # side of the squares whose means are compared: their noise is an eighth of a pixel's
FEWEST = 64  # blocks; of smaller images nothing can be told
RELATED = 0.4  # mean correlation. Photographs at every noise level: 0.60 … 0.97; channels of one cell: 0.04 … 0.29
LARGEST_NOISE = 0.95  # share of the blocks' differences that noise may be; what it estimates contains texture
MOST_BLOCKS = 1 << 15


def are_related(image: NDArray[Any]) -> bool:
    """Whether a model that was trained on photographs may use one channel to restore another.

    The correlation between channels of the differences of neighbouring block means, with the noise's share taken out of
    their variances. True where nothing can be told.

    Args:
        image: (H, W, C).
    """
    height, width, channels = image.shape
    if channels < 2 or (height // BLOCK) * (width // BLOCK) < FEWEST:
        return True
    rows = min(height // BLOCK, max(1, MOST_BLOCKS // (width // BLOCK)))  # of a huge image its middle rows will do
    top = (height // BLOCK - rows) // 2 * BLOCK
    image = image[top : top + rows * BLOCK, : width // BLOCK * BLOCK].astype(np.float32)
    lines = image.reshape(rows, BLOCK, -1).sum(1)  # in two steps: NumPy sums along two axes at once eight times slower
    blocks = lines.reshape(rows, width // BLOCK, BLOCK, channels).sum(2).astype(np.float64) / BLOCK**2
    across, down = np.diff(blocks, axis=1).reshape(-1, channels), np.diff(blocks, axis=0).reshape(-1, channels)
    steps = np.concatenate([across, down])
    covariance = steps.T @ steps / len(steps)
    total = np.diagonal(covariance)
    signal = np.maximum(total - 2 * _noise_variance(image) / BLOCK**2, (1 - LARGEST_NOISE) * total)
    if not signal.any():
        return True
    scale = np.sqrt(np.outer(signal, signal))
    pairs = np.triu_indices(channels, 1)
    correlation = np.divide(covariance[pairs], scale[pairs], out=np.zeros(len(pairs[0])), where=scale[pairs] > 0)
    return bool(correlation.mean() >= RELATED)


def _noise_variance(image: NDArray[np.float32]) -> NDArray[np.float64]:
    """Variance (C,) of what differs from pixel to pixel: mean square of the diagonal differences of 2 × 2 pixels."""
    down = image[::2] - image[1::2]
    steps = (down[:, ::2] - down[:, 1::2]).reshape(-1, image.shape[-1])
    found: NDArray[np.float64] = np.einsum("nc,nc->c", steps, steps, dtype=np.float64) / (4 * len(steps))
    return found
