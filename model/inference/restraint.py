"""Holding a change back where it is expected to do more harm than good, so that no region comes back worse.

Let y = x + n be the pixels of a square, n of variance v, r = μ − y what the network adds, and Σ its posterior variance.
Then E[r·n] = Σ − v (Stein's lemma: v·∂μ/∂y = Σ), and adding a share w of r leaves the error
v − 2w·(v − Σ) + w²·r². At w = 1 that exceeds v where r² + 2Σ > 2v: more was taken than there was noise. The share
w* = (v − Σ) / r² leaves least, and never more than v.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from model.arrays.normalise import Normalisation
from model.noise.noise_level import NoiseLevel

CELL = 8  # pixels; a share belongs to a cell and is measured on a square of twice its side about it
BEGINS, ENDS = 1.1, 1.4  # of (r² + 2Σ) / 2v: where holding back begins, and where the share is w*
WEAK = 0.004  # std of the range: noise up to it is weaker than the networks know well, and Σ itself is a guess
BEGINS_WEAK, ENDS_WEAK = 0.8, 1.1  # the same of noise up to WEAK; from twice that on it is as above
HIDDEN = 0.3  # of what the network takes for weak noise, noise is that no place of the image shows
UNUSUAL = 1.4  # divides the line's variance at a brightness that few squares have, where the line is a guess
UNUSUAL_AND_STEEP, STEEP = 2.0, 6.0  # divides it where steps between neighbours are STEEP times the noise, too: stars
IMPULSE = 5.0  # standard deviations that noise hardly ever reaches
AT_MOST = 1.3  # times the variance that neighbours' differences show, noise is; less where an image has none
Floats = NDArray[np.float32]


def share_kept(
    noisy: Floats,
    change: Floats,
    posterior: Floats,
    noise: Sequence[NoiseLevel],
    scaling: Normalisation,
    corner: tuple[int, int] = (0, 0),
) -> Floats | None:
    """Which share of the change each pixel should get, (c, h, w); None: all of it everywhere.

    Args:
        noisy, change, posterior: y, r and the diagonal of Σ of a window (c, h, w), normalised by `scaling`.
        noise: of each channel, in file units; of none where it is not known.
        corner: of the window in its page, so that the cells of all windows are the same.
    """
    if not noise:
        return None
    _, height, width = noisy.shape
    before = (corner[0] % CELL, corner[1] % CELL)
    noisy, change, posterior = noisy[:, ::2], change[:, ::2], posterior[:, ::2]  # every second row tells enough
    measured = (change * change, posterior, noisy, _steps(noisy))
    taken, wrong, level, steps = (_about_cells(of, before) for of in measured)
    expected = AT_MOST * np.array([of.correlated for of in noise])[:, None, None] * steps
    if all(of.correlated == 1 for of in noise):  # else Stein's lemma tells nothing, but that there is noise at all
        levels = level * scaling.scale + scaling.offset
        line = np.stack([of.variance_at(levels[c]) for c, of in enumerate(noise)]) / scaling.scale**2
        rare = levels > np.array([of.usual for of in noise])[:, None, None]
        line /= np.where(rare, np.where(steps > STEEP * line, UNUSUAL_AND_STEEP, UNUSUAL), 1.0)
        expected = np.minimum(expected, line)
    if any(of.hidden for of in noise):
        claimed = taken + wrong  # E[r²] = v − Σ: the noise as the network sees it
        expected = np.minimum(expected, claimed * (1 - (1 - HIDDEN) * _weakness(claimed)))
    excess = _excess(taken, wrong, expected)
    if excess.any():
        taken = _about_cells(_without_impulses(noisy, change, noise, scaling), before)
        excess = _excess(taken, wrong, expected)
    if not excess.any():
        return None
    best = np.clip((expected - wrong) / np.maximum(taken, 1e-300), 0, 1)
    share = torch.from_numpy((1 - excess * (1 - best)).astype(np.float32))
    smooth = F.interpolate(share[None], scale_factor=CELL, mode="bilinear", align_corners=False)[0].numpy()
    found: Floats = smooth[:, before[0] : before[0] + height, before[1] : before[1] + width]
    return found


def _without_impulses(noisy: Floats, change: Floats, noise: Sequence[NoiseLevel], scaling: Normalisation) -> Floats:
    """r², but v at single pixels that change far more than noise: hot and dead ones, whose removal is no harm."""
    squared: Floats = change * change
    for channel, of in enumerate(noise):
        slope, floor = (np.float32(n) for n in _in_units(of, scaling))
        limit = np.maximum(slope * noisy[channel] + floor, 0)
        far = squared[channel] > np.float32(IMPULSE**2) * limit
        if far.any():
            about = F.avg_pool2d(torch.from_numpy(far.astype(np.float32))[None], 3, 1, 1, count_include_pad=False)[0]
            lone = far & (about.numpy() < 1.5 / 9)
            squared[channel][lone] = limit[lone]
    return squared


def _in_units(noise: NoiseLevel, scaling: Normalisation) -> tuple[float, float]:
    """Slope and intercept of the variance of normalised values."""
    floor = noise.intercept + noise.alpha * scaling.offset
    return noise.correlated * noise.alpha / scaling.scale, noise.correlated * floor / scaling.scale**2


def _excess(taken: NDArray[np.float64], wrong: NDArray[np.float64], noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """0 where the change is expected to help, 1 where it is expected to harm."""
    ratio = (taken + 2 * wrong) / np.maximum(2 * noise, 1e-300)
    ratio = np.where(taken > 0, ratio, 0.0)
    weak = _weakness(noise)
    begins, ends = BEGINS + weak * (BEGINS_WEAK - BEGINS), ENDS + weak * (ENDS_WEAK - ENDS)
    return np.asarray(np.clip((ratio - begins) / (ends - begins), 0, 1))


def _weakness(noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 where the variance is that of noise weaker than the networks know well, 0 where they know it."""
    return np.asarray(np.clip(2 - np.sqrt(noise) / WEAK, 0, 1))


def _steps(noisy: Floats) -> Floats:
    """Half the squared difference to the next pixel of the row: of noise alone its variance."""
    found = np.empty(noisy.shape, np.float32)
    across = np.subtract(noisy[..., 1:], noisy[..., :-1], out=found[..., :-1])
    np.multiply(across, across * np.float32(0.5), out=across)
    found[..., -1:] = found[..., -2:-1]
    return found


def _about_cells(values: Floats, before: tuple[int, int]) -> NDArray[np.float64]:
    """Means about every cell of (c, h, w), every second row, with weights ¼ ½ ¼ of cells along rows and columns."""
    channels, height, width = values.shape
    high, above = CELL // 2, before[0] // 2
    pad = ((0, 0), (above, -(height + above) % high), (before[1], -(width + before[1]) % CELL))
    if any(max(sides) for sides in pad):
        values = np.pad(values, pad, mode="edge")
    rows, columns = values.shape[1] // high, values.shape[2] // CELL
    lines = values.reshape(channels, rows, high, -1).sum(2)  # in two steps: NumPy sums along two axes slower
    cells = lines.reshape(channels, rows, columns, CELL).sum(3).astype(np.float64) / (high * CELL)
    for axis in (1, 2):
        inner, ends = np.split(cells, [-1], axis), np.split(cells, [1], axis)
        before_it, after_it = (np.concatenate(of, axis) for of in ((ends[0], inner[0]), (ends[1], inner[1])))
        cells = (before_it + 2 * cells + after_it) / 4
    return np.asarray(cells)
