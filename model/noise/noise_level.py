"""The noise of an image by brightness, from its pixels alone: known before a network looks, and the same for each part.

In squares of 8 × 8 pixels the diagonal differences tell the noise, whatever smooth the squares show; at each brightness
the quietest squares show least texture. A line is fitted in proportions, since noise of one image spans decades.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.noise.noise_curve import NoiseFit
from model.noise.quantiles import median, quantile
from model.noise.texture import is_texture

SIDE = 8
MOST_SQUARES, FEWEST_SQUARES = 4096, 1024  # a channel; an eighth of a large image's between them
PAGES, MOST_BYTES = 8, 1 << 28  # of a stack that are looked at: it may live on disk
MOST_CUT = 1  # pixels of a square that may lie at an end of the range
FEWEST_VARIED, LONE = 8, 0.3  # squares that sparse counts show their noise by, and correlation that lines exceed
QUIET = 0.15  # quantile of the squares of one brightness that shows its noise
QUIET_SHARE = 0.71  # of the variance that white noise shows there
TEXTURED = 3.0  # times as much as differences show, a brightness' quiet squares vary where few of them are quiet:
QUIETEST, QUIETEST_SHARE = 0.02, 0.52  # then the very quietest tell its noise
DEGREES = SIDE * SIDE - 3  # of freedom about a plane
LEVELS, LEAST = 16, 24  # brightnesses, and squares of each; the darkest and brightest are cut finer, down to so many
STEPS, ABOVE, BELOW = 12, 1.15, 0.8  # of the fit; levels that lie farther from it count less: texture, rare brightness
USUAL, DARKEST = 0.98, 0.05  # quantiles of the squares' brightness between which the line is well known
SHARPLY = 3  # of a star's square all is steep
FLAT = 0.2  # share of the squares of one brightness that shows how alike neighbours are
NEARLY_ALL = 0.05  # all squares but so many have noise that is correlated,
ALIKE, ALIKE_NEAR = (
    1.13,
    1.1,
)  # if its variance, and that of single differences, is so many times what diagonal ones show
Squares = NDArray[Any]
Gaps = Callable[[int, NDArray[Any]], NDArray[np.bool_] | None]
"""Which pixels of page number so and so, (H, W, C), measured nothing; None: none."""


@dataclass(frozen=True)
class NoiseLevel:
    """Variance of a value v: `correlated` · max(alpha·v + intercept, 0), in the file's units, v at least `darkest`.

    Attributes:
        correlated: how much larger it is than differences of neighbours show; 1 where noise is independent.
        usual: the brightness up to which many squares were seen; beyond it are few, of which structure may be all.
        darkest: the brightness below which few were; a line that falls to nothing there would be a guess.
        hidden: whether texture exceeds the noise everywhere, so that the line is only a bound from above.
    """

    alpha: float
    intercept: float
    correlated: float = 1.0
    usual: float = math.inf
    darkest: float = -math.inf
    hidden: bool = False

    def variance_at(self, level: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(
            self.correlated * np.maximum(self.alpha * np.maximum(level, self.darkest) + self.intercept, 0.0)
        )


def as_fit(noise: Sequence[NoiseLevel], offset: float, scale: float, curve: NoiseFit) -> NoiseFit:
    """The mean line of some channels in units of (value − offset) / scale, with the points of a curve."""
    slope = float(np.mean([of.correlated * of.alpha for of in noise])) / scale
    floor = float(np.mean([of.correlated * (of.intercept + of.alpha * offset) for of in noise])) / scale**2
    black = max(-floor / slope, 0.0) if slope > 0 else 0.0
    return replace(curve, alpha=slope, sigma=math.sqrt(max(floor, 0.0)), black=black)


def squares(stack: NDArray[Any], pages: Sequence[int], channels: slice, gaps: Gaps = lambda *_: None) -> Squares:
    """(n, 8, 8, c) evenly spaced over some pages of (N, H, W, C); none of an image that is smaller than one.

    Args:
        gaps: where a page measured nothing: a square with such a pixel, whatever fills it, tells nothing of the noise.
    """
    most = min(len(pages), PAGES, max(1, MOST_BYTES // stack[0].nbytes))
    some = [pages[i] for i in np.unique(np.linspace(0, len(pages) - 1, most).astype(int))]
    rows, columns = stack.shape[1] // SIDE, stack.shape[2] // SIDE
    wanted = np.clip(len(some) * rows * columns / SIDE, FEWEST_SQUARES, MOST_SQUARES)
    wanted /= math.sqrt(channels.stop - channels.start)  # for each has its own line, and time is short
    step = max(1, int((len(some) * rows * columns / wanted) ** 0.5))
    found = []
    for page in some:
        some_of_it = _spread(stack[page, ..., channels], step)
        absent = gaps(page, stack[page])
        if absent is not None:
            some_of_it = some_of_it[~_spread(absent[..., channels], step).any((1, 2, 3))]
        found.append(some_of_it)
    return np.concatenate(found)


def _spread(page: NDArray[Any], step: int) -> Squares:
    """Every so manieth square of a page (H, W, c) in both directions, (n, 8, 8, c)."""
    rows, columns = page.shape[0] // SIDE, page.shape[1] // SIDE
    cut = page[: rows * SIDE, : columns * SIDE]
    grid = cut.reshape(rows, SIDE, columns, SIDE, cut.shape[-1])[step // 2 :: step, :, step // 2 :: step]
    return grid.transpose(0, 2, 1, 3, 4).reshape(grid.shape[0] * grid.shape[2], SIDE, SIDE, cut.shape[-1])


def within(some: Squares, low: float, high: float) -> Squares:
    """The squares whose pixels all lie between two values: without marks for missing pixels, NaN among them."""
    return some[((some >= low) & (some <= high)).all((1, 2, 3))]


def estimate(some: Squares) -> list[NoiseLevel]:
    """Of each channel of (n, 8, 8, c); of none where there are too few squares to tell."""
    if len(some) < LEAST:
        return []
    chosen = [_whole(some[..., channel]) for channel in range(some.shape[-1])]
    measured = [_measure(squares.astype(np.float64)) for squares, _ in chosen]
    smooth = [_alike(white, whole, near) for _, white, whole, near in measured]
    texture = [one and is_texture(squares.astype(np.float64)) for one, (squares, _) in zip(smooth, chosen, strict=True)]
    # Of a camera's channels one may hardly show that its noise is correlated.
    alike = any(one and not other for one, other in zip(smooth, texture, strict=True))
    found = []
    for (level, white, whole, _), (_, blackest), hidden in zip(measured, chosen, texture, strict=True):
        parts = _by_brightness(level)
        alpha, intercept = _line(level, white, whole, parts, blackest)
        correlated = max(1.0, _correlated(white, whole, parts)) if alike else 1.0
        darkest, usual = quantile(level, DARKEST, USUAL)
        found.append(NoiseLevel(alpha, float(intercept), correlated, usual, darkest, hidden))
    return found


def _whole(squares: NDArray[Any]) -> tuple[NDArray[Any], float]:
    """The squares that are no padding and that the ends of the range do not cut; those that vary, if those are few.

    Of sparse counts nearly all squares lie at 0, which is a count like others: those that are 0 all over tell nothing,
    but that there noise is not less than none. That brightness, beside the squares; infinity where it is not known.
    """
    lowest, highest = squares.min((1, 2)), squares.max((1, 2))
    ends = (squares == squares.min()) | (squares == squares.max())
    varied = highest > lowest
    whole = squares[(ends.sum((1, 2)) <= MOST_CUT) & varied]
    if len(whole) >= LEAST:
        return whole, math.inf
    if varied.sum() >= FEWEST_VARIED and _are_lone(squares[varied]):
        return squares[varied], float(squares.min())
    return squares, math.inf


def _are_lone(squares: NDArray[Any]) -> bool:
    """Whether pixels vary by themselves, as counts do, and not in lines and areas, as a drawing without noise does."""
    rest = squares - squares.mean((1, 2), keepdims=True, dtype=np.float64)
    variance = np.square(rest).mean((1, 2))
    pairs = [(rest[:, 1:], rest[:, :-1]), (rest[:, :, 1:], rest[:, :, :-1])]
    pairs += [(rest[:, 1:, 1:], rest[:, :-1, :-1]), (rest[:, 1:, :-1], rest[:, :-1, 1:])]
    alike = np.max([(one * other).mean((1, 2)) for one, other in pairs], 0) / variance
    return float(np.median(alike)) < LONE


Numbers = NDArray[np.float64]


def _measure(squares: Numbers) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Of each square its mean, and the variance by diagonal differences, about a plane, and by single differences."""
    steps = squares[:, 1:] - squares[:, :-1]
    steps = steps[:, :, 1:] - steps[:, :, :-1]
    white = np.einsum("nij,nij->n", steps, steps) / (4 * steps[0].size)
    flat = squares.reshape(len(squares), -1)
    level = flat.mean(1)
    rest = flat - level[:, None]
    ramp = np.arange(SIDE) - (SIDE - 1) / 2
    ramp /= np.sqrt(SIDE * ramp @ ramp)
    slopes = rest @ np.stack([np.repeat(ramp, SIDE), np.tile(ramp, SIDE)], 1)
    whole = (np.einsum("np,np->n", rest, rest) - (slopes**2).sum(1)) / DEGREES
    single = [np.diff(squares, axis=axis).reshape(len(squares), -1) for axis in (1, 2)]
    near = (single[0].var(1, ddof=1) + single[1].var(1, ddof=1)) / 4
    return level, white, np.maximum(whole, 0), near


def _by_brightness(level: Numbers) -> list[NDArray[np.int64]]:
    """Indices of about equally many squares each, ascending in brightness; the ends, which are rare, are cut finer."""
    order = np.argsort(level)
    parts = np.array_split(order, max(1, min(LEVELS, len(order) // LEAST)))
    while len(parts[0]) >= 2 * LEAST:
        half = len(parts[0]) // 2
        parts[:1] = [parts[0][:half], parts[0][half:]]
    while len(parts[-1]) >= 2 * LEAST:
        half = len(parts[-1]) // 2
        parts[-1:] = [parts[-1][:half], parts[-1][half:]]
    return parts


def _line(
    level: Numbers, white: Numbers, whole: Numbers, parts: list[NDArray[np.int64]], darkest: float
) -> tuple[float, float]:
    """α ≥ 0 and the intercept of the variance against brightness, least squares in proportions, reweighted.

    It is not negative at the `darkest` brightness, nor at any that is seen.
    """
    quantiles = np.array([quantile(white[part], QUIET, QUIETEST) for part in parts])
    variance, quietest = quantiles[:, 0] / QUIET_SHARE, quantiles[:, 1] / QUIETEST_SHARE
    quiet = [part[np.argsort(white[part])[: max(2, int(2 * QUIET * len(part)))]] for part in parts]
    x = np.array([level[part].mean() for part in quiet])
    if not variance.any():
        return 0.0, 0.0
    # Where even the quietest squares are steep, as about stars, what differences show is not noise alone.
    least = 1e-12 * float(white.max())
    of_all, of_steps = (np.array([max(median(of[part]), least) for part in quiet]) for of in (whole, white))
    steep = of_all / of_steps  # 1 where all is constant
    variance = np.where(steep > TEXTURED, np.minimum(variance, quietest), variance)
    variance = np.maximum(variance, 1e-6 * median(variance[variance > 0]))
    trust = np.minimum(1, median(steep) / steep) ** SHARPLY
    darkest = min(float(x.min()), darkest)
    x = x - darkest
    weight = np.ones(len(x))
    slope = floor = 0.0
    for _ in range(STEPS):
        slope, floor = _not_negative(x / variance, 1 / variance, weight * trust)
        ratio = variance / np.maximum(slope * x + floor, 1e-12 * variance)
        weight = np.where(ratio > ABOVE, (ABOVE / ratio) ** SHARPLY, np.where(ratio < BELOW, ratio / BELOW, 1.0))
    return slope, floor - slope * darkest


def _not_negative(first: Numbers, second: Numbers, weight: Numbers) -> tuple[float, float]:
    """a, b ≥ 0 that make a·first + b·second nearest to 1."""
    first, second = weight * first, weight * second
    ff, fs, ss, f1, s1 = first @ first, first @ second, second @ second, first @ weight, second @ weight
    determinant = ff * ss - fs * fs
    if determinant > 1e-12 * ff * ss:
        a, b = (ss * f1 - fs * s1) / determinant, (ff * s1 - fs * f1) / determinant
        if a >= 0 and b >= 0:
            return float(a), float(b)
        if b < 0:
            return float(f1 / ff), 0.0
    return 0.0, float(s1 / ss)


def _alike(white: Numbers, whole: Numbers, near: Numbers) -> bool:
    """Whether noise is correlated: texture has flat places in which it is not, a camera's picture has none."""
    noisy = white > 0
    if not noisy.any():
        return False
    (of_all,), (of_near,) = (quantile(of[noisy] / white[noisy], NEARLY_ALL) for of in (whole, near))
    return of_all > ALIKE and of_near > ALIKE_NEAR


def _correlated(white: Numbers, whole: Numbers, parts: list[NDArray[np.int64]]) -> float:
    """Median over brightness of the variance about a plane over that of differences, in the flattest squares."""
    flat = [part[np.argsort(whole[part])[: max(3, int(FLAT * len(part)))]] for part in parts]
    pairs = [(whole[part].mean(), white[part].mean()) for part in flat]
    return float(np.median([of_all / of_steps for of_all, of_steps in pairs if of_steps > 0] or [1.0]))
