"""Line noise: an offset that all pixels of a row, or of a column, have in common.

Amplifiers and converters that serve a whole row make it (sCMOS, line scanners, video chains, bidirectional scans). What
tells it from a scene's own stripes: it is the same in every part of the line whatever the scene shows there, and it
changes from each line to the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.noise.quantiles import median

SEGMENTS, SEGMENT = 8, 16  # parts of a line that are looked at one by one, and the pixels of each
MOST_LINES = 512  # that are looked at
FEWEST = 32  # lines, and pixels of a line; in smaller images lines are not looked for
CUT = 3.0  # robust standard deviations beyond which a step from line to line is the scene's
CUT_LINES = 2.5  # the same of the lines' own steps: a horizon is a step of few lines, line noise one of all
STEP = np.array([1.0, -4.0, 6.0, -4.0, 1.0], np.float32) / np.float32(70**0.5)
"""Fourth difference, of unit variance for white noise: scenes hardly have any, lines that change at random do."""
WEAK = 0.15  # of the noise from pixel to pixel: weaker lines are not seen
ALIKE = (
    0.75  # least share of the common variance that each segment has in common with the others. Photographs: -3 … 0.8
)
OWN = 1.35  # most that segments vary by themselves, in units of the common variance. Photographs: 1 … 1000
SURE = 25.0  # standard errors of the common variance

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Lines:
    """Line noise of one image in one direction.

    Attributes:
        std: of the lines' offsets, were they independent, in the image's units; lines that alternate count 1.9 times.
        noise: standard deviation of what is independent from pixel to pixel.
        found: whether this is line noise with certainty: the same in all parts of the lines, and not a scene's.
    """

    std: float = 0.0
    noise: float = 0.0
    found: bool = False


def of_rows(image: NDArray[Any]) -> Lines:
    """The line noise of the rows of an image (H, W, C), mean of its channels; for columns give its transpose."""
    height, width = image.shape[:2]
    if min(height, width) < FEWEST:
        return Lines()
    top = max(0, height - MOST_LINES) // 2
    size = min(width // SEGMENTS, SEGMENT)
    starts = np.linspace(0, width - size, SEGMENTS).astype(int)
    columns = starts[:, None] + np.arange(size)
    share = np.full(image.shape[2], 1 / image.shape[2], np.float32)  # a product is faster than a mean of three
    parts = image[top : top + MOST_LINES, columns].transpose(1, 0, 2, 3).astype(np.float32, order="C") @ share
    steps = _steps(parts)  # (segments, lines, size)
    spread = 1.4826 * median(np.abs(steps[:, :: max(1, steps.shape[1] // 128)]))
    if spread == 0:
        return Lines()
    np.clip(steps, -CUT * spread, CUT * spread, out=steps)
    segments = steps.mean(2)  # (segments, lines)
    own = float(steps.var(2).mean()) / size  # variance of a segment's mean that is its pixels'
    limit = CUT_LINES * 1.4826 * np.median(np.abs(segments), axis=1, keepdims=True)
    clipped = np.clip(segments, -limit, limit).astype(np.float64)
    clipped -= clipped.mean(1, keepdims=True)
    covariance = clipped @ clipped.T / (clipped.shape[1] - 1)
    total = np.diagonal(covariance)
    shared = (covariance.sum(1) - total) / (SEGMENTS - 1)  # of each segment with the others
    common = float(shared.mean())
    error = own / (segments.shape[1] * SEGMENTS * (SEGMENTS - 1) / 2) ** 0.5
    noise = (own * size) ** 0.5
    if common <= 0:
        return Lines(noise=noise)
    found = (
        common > max(SURE * error, (WEAK * noise) ** 2)
        and float(shared.min()) > ALIKE * common
        and float(total.mean()) - own < OWN * common
    )
    return Lines(common**0.5, noise, bool(found))


def _steps(part: Floats) -> Floats:
    """Fourth differences down the columns, (n, H − 4, w)."""
    found: Floats = STEP[2] * part[:, 2:-2] + STEP[1] * (part[:, 1:-3] + part[:, 3:-1])
    found += STEP[0] * (part[:, :-4] + part[:, 4:])
    return found
