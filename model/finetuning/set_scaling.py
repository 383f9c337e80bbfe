"""The one map from file values to normalised units of a whole set."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from model.arrays import normalise
from model.arrays.normalise import Normalisation
from model.arrays.pixels import Pixels

SAMPLED_PIXELS = 1 << 22  # of the whole set


def of_set(images: Sequence[Pixels], after_read: Callable[[], None], by_full_scale: bool = False) -> Normalisation:
    """One map for the set, from a sample of every image (or of as many as are enough).

    Args:
        by_full_scale: the base goes by the tone curve, as `Denoiser.scalings` knows.
    """
    chosen = images[:: max(1, len(images) // 256)]
    share = SAMPLED_PIXELS // len(chosen)
    # Whole rows: single pixels far apart would touch every page of a set that lies on disk.
    # Copied, since a row that is only looked at is read when its pages have been let go of.
    samples = []
    for image in chosen:
        samples.append(image[:, :: max(1, image.size // share)].flatten())
        after_read()
    values = np.concatenate(samples)
    return normalise.choose(values, "dtype" if by_full_scale and normalise.fills_scale(values) else "auto")
