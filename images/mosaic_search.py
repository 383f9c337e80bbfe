"""Whether a gray image is a colour mosaic that its file does not declare, from the means of its 2 x 2 sites.

Much else has a period of two pixels: blinds, checkerboards, meshes, screens of halftones, readout channels. In a mosaic
the two green sites, on a diagonal, show the same; the two others show the same scene, each in its own share of the
light. What an overlay does to an image is a function of the image; colours are not, and where a scene has none, green
is the brightest. All of that is asked for, because a gray image that is taken for a mosaic loses half its resolution; a
mosaic that is not found (red and blue sites that are equally bright, a flat field) can be declared by an option.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float32]
BLOCK = 16  # pixels a side; a site has a quarter of them
BLOCKS_A_SIDE = 32  # looked at, of a page; spread over it
PAGES = 3
FEWEST = 48  # blocks; of smaller images nothing can be told
SIGNIFICANT = 16.0  # mean square of either contrast over the square of its standard error in a block
GREENS_APART = 0.1  # at most, root mean square, as a share of the lesser contrast
OTHERS_APART = 0.12  # at least, as a share of the greater contrast
ONE_SCENE = 0.5  # least correlation of either other site with green
COLOURFUL = 0.03  # share of a contrast, root mean square, that no function of green explains; overlays: up to 0.016
OF_LIKE_GREEN = 24  # blocks
GREENEST = 0.85  # or: least share of the blocks in which green is the brightest,
WITH_LIGHT = 0.3  # and least correlation of either contrast with green
_DIAGONALS = (((1, 2), (0, 3)), ((0, 3), (1, 2)))  # sites of green, and of red and blue


def has_mosaic(stack: Array) -> bool:
    """Whether pages (N, H, W) are such mosaics, judged by up to three of them together."""
    pages = np.unique(np.linspace(0, len(stack) - 1, min(PAGES, len(stack))).astype(int))
    blocks = np.concatenate([_blocks(stack[page]) for page in pages])
    if len(blocks) < FEWEST:
        return False
    sites = np.stack([blocks[:, y::2, x::2].reshape(len(blocks), -1) for y in (0, 1) for x in (0, 1)])
    means = sites.mean(2)
    sites -= means[..., None]
    errors = np.einsum("snp,snp->sn", sites, sites) / sites.shape[2] ** 2
    return any(_is_mosaic(_contrasts(means, errors, *diagonal)) for diagonal in _DIAGONALS)


def _blocks(page: Array) -> Floats:
    """Whole blocks (n, BLOCK, BLOCK) of a page (H, W), spread over it, about zero."""
    rows, columns = page.shape[0] // BLOCK, page.shape[1] // BLOCK
    if not rows or not columns:
        return np.empty((0, BLOCK, BLOCK), np.float32)
    tiled = page[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    down, across = (np.unique(np.linspace(0, n - 1, min(n, BLOCKS_A_SIDE)).astype(int)) for n in (rows, columns))
    found = tiled[down[:, None], :, across[None]].reshape(-1, BLOCK, BLOCK).astype(np.float32)
    found -= np.median(found[:, 0, 0])  # so that sums of squares do not lose a small contrast
    return found


@dataclass(frozen=True)
class _Contrasts:
    """Of blocks: green, by how much it exceeds either other colour, and the differences of the greens and the others.

    The errors are squared standard errors of these differences.
    """

    green: Floats
    others: tuple[Floats, Floats]
    greens_apart: Floats
    error: Floats
    greens_error: Floats
    others_error: Floats

    @property
    def others_apart(self) -> Floats:
        return self.others[0] - self.others[1]


def _contrasts(means: Floats, errors: Floats, greens: tuple[int, int], others: tuple[int, int]) -> _Contrasts:
    one, two, first, second = (means[site] for site in (*greens, *others))
    green = (one + two) / 2
    of_greens, of_others = errors[list(greens)].sum(0), errors[list(others)].sum(0)
    error = of_greens / 4 + of_others / 2
    return _Contrasts(green, (green - first, green - second), one - two, error, of_greens, of_others)


def _is_mosaic(found: _Contrasts) -> bool:
    powers = [float(np.square(contrast).mean()) for contrast in found.others]
    if min(powers) <= SIGNIFICANT * float(found.error.mean()):
        return False
    if float((np.square(found.greens_apart) - found.greens_error).mean()) > GREENS_APART**2 * min(powers):
        return False
    if float((np.square(found.others_apart) - found.others_error).mean()) < OTHERS_APART**2 * max(powers):
        return False
    if min(_correlation(found.green - contrast, found.green) for contrast in found.others) < ONE_SCENE:
        return False
    left = [_unexplained(contrast, found) for contrast in found.others]
    if all(share > COLOURFUL**2 * power for share, power in zip(left, powers, strict=True)):
        return True
    return all(
        (contrast > 0).mean() >= GREENEST and _correlation(contrast, found.green) >= WITH_LIGHT
        for contrast in found.others
    )


def _unexplained(contrast: Floats, found: _Contrasts) -> float:
    """Mean square of a contrast about a line through it, among blocks of like green; less what noise gives."""
    order = np.argsort(found.green)
    groups = order[: len(order) // OF_LIKE_GREEN * OF_LIKE_GREEN].reshape(-1, OF_LIKE_GREEN)
    x, y = (values[groups] - values[groups].mean(1, keepdims=True) for values in (found.green, contrast))
    slope = (x * y).sum(1) / np.maximum((x * x).sum(1), 1e-30)
    return float((np.square(y - slope[:, None] * x) - found.error[groups]).mean())


def _correlation(a: Floats, b: Floats) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = float(a @ a) * float(b @ b)
    return float(a @ b) / scale**0.5 if scale > 0 else 0.0
