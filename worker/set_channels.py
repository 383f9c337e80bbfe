"""What the channels of a training set have in common, from a few of its images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.arrays.normalise import brightness_range, sample
from model.arrays.related import are_related
from model.noise import noise_kind

LOOKED_AT = 8
PIXELS = 1 << 17  # of a plane
SIDE_LOOKED_AT = 1024  # pixels, from the upper left: an image may be mapped from a file and larger than memory
UNLIKE = 4.0
"""Ratio of brightness above which one normalisation cannot serve two channels."""

Array = NDArray[Any]


def show_one_scene(images: Sequence[Array]) -> bool:
    """Whether in most of the images (C, H, W) the channels belong together, as those of photographs do."""
    some = _some(images)
    return 2 * sum(are_related(np.moveaxis(image, 0, -1)) for image in some) > len(some)


def has_camera_noise(images: Sequence[Array]) -> bool:
    """Whether the noise of most of the images (3, H, W) went through a camera, so that neighbours share it."""
    some = [np.moveaxis(image[:, *(slice(0, SIDE_LOOKED_AT),) * 2], 0, -1) for image in _some(images)]
    return 2 * sum(noise_kind.measure(image).camera for image in some) > len(some)


def brightness_ratio(images: Sequence[Array]) -> float:
    """How much wider the range of the brightest channel of the images (C, H, W) is than that of the darkest."""
    some = _some(images)
    ranges = []
    for channel in range(len(some[0])):
        # A plane may be mapped from a file and larger than memory.
        planes = [sample(image[channel, None, :, :, None], [0], slice(0, 1), PIXELS) for image in some]
        ranges.append(brightness_range(np.concatenate(planes)))
    spans = [max(high - low, 1e-12) for low, high in ranges]
    return max(spans) / min(spans)


def _some(images: Sequence[Array]) -> list[Array]:
    return [images[i] for i in np.unique(np.linspace(0, len(images) - 1, LOOKED_AT).astype(int))]
