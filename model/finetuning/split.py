"""Which pixels of a noisy set are trained on, and which are held out to judge by.

The pages of a stack and the channels of a file show the same things at the same places, so a file is never cut between
its pages: either all of it is held out, or the same rows of every page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from model.arrays.pixels import Pixels

WHOLE_FILES_FROM = 8  # a smaller set gives a strip of each file instead
SHARE = 5  # one file in so many, or one row in so many, is held out
MOST_FILES = 32
SMALLEST_SIDE = 16
ROWS = 32  # a strip's height is rounded up to so many rows if it stays within a third of the image
# Rows between a strip and what is trained on: structures and noise that neighbouring rows share end within it. The
# receptive field need not fit, since neither a training crop nor a held-out one reads across the gap.
GAP = 16
GAP_SHARE = 12  # of the rows above the strip, at most one in so many


class Split(NamedTuple):
    """Images to train on, held-out ones, each one's index in the set, and the file of each held-out one."""

    training: list[Pixels]
    training_indices: list[int]
    held_out: list[Pixels]
    held_out_indices: list[int]
    held_out_files: list[int]


def split(images: Sequence[Pixels], seed: int, groups: Sequence[int] | None = None) -> Split:
    """Hold out whole files where there are enough, else the lowest rows of each. Views, no copies.

    Args:
        images: (C, H, W) each.
        groups: which file each image came from; None: each from its own.
    """
    of = list(range(len(images)) if groups is None else groups)
    files = sorted(set(of))
    if len(files) < WHOLE_FILES_FROM:
        return _strips(images, of)
    order = np.random.default_rng((seed, 0x5B117)).permutation(len(files)).tolist()
    size = min(MOST_FILES, max(2, len(files) // SHARE))
    chosen = {files[i] for i in order[:size]}
    kept = [i for i, file in enumerate(of) if file not in chosen]
    held = [i for i, file in enumerate(of) if file in chosen]
    return Split([images[i] for i in kept], kept, [images[i] for i in held], held, [of[i] for i in held])


def _strips(images: Sequence[Pixels], of: list[int]) -> Split:
    everything, heights = list(range(len(images))), [image.shape[1] for image in images]
    cuts = [height - _strip(height) for height in heights]
    gaps = [min(GAP, cut // GAP_SHARE) for cut in cuts]
    return Split(
        [image[:, : cut - gap] for image, cut, gap in zip(images, cuts, gaps, strict=True)], everything,
        [image[:, cut:] for image, cut in zip(images, cuts, strict=True)], everything, of,
    )  # fmt: skip


def _strip(height: int) -> int:
    """Rows to hold out."""
    share = max(SMALLEST_SIDE, height // SHARE)
    whole = -(-share // ROWS) * ROWS
    return whole if 3 * whole <= height else share
