"""Further normalisations for what is dark in an image of a wide range, and which of them each pixel is seen by.

A bright object or a star leaves the rest of an image in a sliver of the range, where the network's error exceeds the
noise. As a camera brackets exposures, so the dark part is shown to the network again, stretched, with what is brighter
cut off; the results are blended smoothly by brightness.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from model.arrays import normalise
from model.arrays.normalise import Normalisation
from model.noise import noise_level
from model.noise.noise_level import NoiseLevel, Squares
from model.planes import View

RATIO = 8.0  # what is darker than the range over this may be shown again
MOST = 4
SMALLEST_SHARE, FEWEST = 1e-3, 4  # of the squares that must be so dark, and how many
VISIBLE = 0.008  # std of the range above which the network sees noise well enough (PG noise: 0.02 and more)
LEAST_STEP = 0.5  # std of noise, of an integer's step: less is rounding, which must not be stretched
NARROWER = 0.5  # of the range that a further exposure may have at most
FADES = (0.75, 1.25)  # of its range: darker than this a pixel is seen by it alone, brighter not at all
BOX = 5  # side of the square whose mean tells a pixel's brightness, so that its own noise does not choose
Floats = NDArray[np.float32]


def view(some: Squares, first: Normalisation) -> View:
    """How planes are shown to the network of which some squares (n, 8, 8, c) are given."""
    low, high = (first.offset + end * first.scale for end in normalise.STAYING)
    some = noise_level.within(some, low, high)
    noise = noise_level.estimate(some)
    return View(first, darker(some, noise, first), tuple(noise))


def darker(some: Squares, noise: Sequence[NoiseLevel], first: Normalisation) -> tuple[Normalisation, ...]:
    """The further exposures that an image needs beside `first`, from brightest to darkest; most images need none.

    Args:
        some: (n, 8, 8, c) of the image; see `noise_level.squares`.
        noise: of each channel; of none where it is not known.
    """
    if not noise:
        return ()
    levels = some.mean((1, 2), dtype=np.float64)  # (n, c)
    variances = np.stack([of.variance_at(levels[:, channel]) for channel, of in enumerate(noise)], 1)
    least = LEAST_STEP if some.dtype.kind in "ui" else 0.0
    found: list[Normalisation] = []
    before = first
    while len(found) < MOST:
        dark = levels < before.offset + before.scale / RATIO
        if dark.sum() < max(FEWEST, SMALLEST_SHARE * dark.size):
            break
        spread = float(np.sqrt(np.median(variances[dark])))
        if spread > VISIBLE * before.scale or spread <= least:
            break
        values = some.transpose(0, 3, 1, 2)[dark]
        after = normalise.choose(values, "auto")
        if not after.scale < NARROWER * before.scale:
            break
        found.append(after)
        before = after
    return tuple(found)


def shares(units: Sequence[Floats]) -> list[Floats]:
    """How much each exposure counts at each pixel; they sum to 1.

    Args:
        units: (c, h, w) as each exposure shows it, from the brightest.
    """
    found: list[Floats] = []
    for unit in units:
        if not found:
            found.append(np.ones_like(unit))
            continue
        known = torch.from_numpy(np.clip(unit, np.float32(normalise.STAYING[0]), np.float32(normalise.STAYING[1])))
        side = min(BOX, *(length - (length + 1) % 2 for length in unit.shape[1:]))
        level = F.avg_pool2d(known, side, stride=1, padding=side // 2, count_include_pad=False).numpy()
        share: Floats = np.clip((FADES[1] - level) / np.float32(FADES[1] - FADES[0]), 0, 1)
        found = [one * (1 - share) for one in found] + [share]
    return found
