"""Whether an image's noise is independent from pixel to pixel, as the networks were trained to expect, and how not.

Told from the image alone. Textures are correlated like noise, so only the flattest blocks are looked at, without those
that the ends of the range cut; and what is called correlated noise must be alike in both directions and in all of them,
which a scene is not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.arrays.missing import Missing, filled
from model.noise import lines
from model.noise.lines import Lines
from model.noise.quantiles import median

SIDE = 16  # of a block
MOST_BLOCKS = 1024  # of all channels together; of a large image, evenly spaced ones
FLATTEST, FEWEST = 0.02, 24  # share of the blocks that is looked at, and the least number
CLIPPED = 0.02  # share of a block's pixels that may lie at an end of the range, if there are enough such blocks
CORRELATED = 0.3  # in both directions. 12 phone photographs: 0.35 … 0.53; 24 photographs with white noise: up to 0.18
ONE_WAY = 0.3  # in one direction alone
ALL_CHANNELS = 0.65  # most that channels share: a camera's noise 0.28 … 0.54, textures of photographs from 0.7 on
STRONG = 0.02  # standard deviation, of the image's range: weaker noise is hardly told from texture
EVEN = 0.095  # most that single blocks differ in how much more alike pixels are beside than below each other: of one
EVEN_CHANNELS = 0.12  # channel, and of several, whose own correlation tells noise from texture as well
PEAK = 10.0  # power of a frequency against that of those about it, for a pattern
MOST = 15  # percent of the blocks that may show less of it
EXPONENTIAL = 0.1625  # what that percentile is of the mean, of the power of white noise
STEADY_PEAK = 30.0  # the same if it has one phase in all blocks, so that it adds up over them
VISIBLE = 0.15  # least amplitude of a pattern, of the noise's standard deviation; demosaicking leaves up to 0.1
ENLARGED = (4, 3, 2)  # times that an image may have been enlarged by repeating pixels
REPEATED, NOT_REPEATED = 0.98, 0.9  # shares of equal neighbours within and between what was one pixel
LOOKED_AT = 48  # rows and columns to tell it from
JPEG_STEP = 1.25  # how much larger steps between JPEG's 8 x 8 blocks are than inside them
BESIDE, BELOW = ((0, 1), (0, 2), (0, 3)), ((1, 0), (2, 0), (3, 0))  # how far apart pixels are, down and across
VISIBLE_NOISE = 0.01  # the same, for a pattern that repeats to be told from a scene's
SMALLEST_RANGE_8BIT = 128.0

Array = NDArray[Any]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Pattern:
    """A pattern that repeats: its periods in pixels (infinite where it does not change), and its amplitude."""

    rows: float
    columns: float
    amplitude: float


@dataclass(frozen=True)
class NoiseKind:
    """What the noise of an image is like, in the image's units.

    Attributes:
        channels: of the image.
        std: of the noise in the flattest parts, mean over the channels.
        strength: that as a share of the image's range.
        beside, below: correlation of pixels 1, 2 and 3 apart in a row, and in a column; 0 if independent.
        diagonal: of pixels one apart in both.
        unevenness: how much single blocks differ in beside − below; textures do more than noise.
        between_channels: mean correlation of the channels' noise at one pixel.
        equal_channels: whether all channels are one.
        rows, columns: line noise.
        patterns: what repeats in the flat parts, the strongest first.
        enlarged: how often each pixel was repeated; 1: not.
        jpeg: whether steps lie on JPEG's 8 × 8 grid.
    """

    channels: int = 1
    std: float = 0.0
    strength: float = 0.0
    beside: tuple[float, float, float] = (0.0, 0.0, 0.0)
    below: tuple[float, float, float] = (0.0, 0.0, 0.0)
    diagonal: float = 0.0
    unevenness: float = 0.0
    between_channels: float = 0.0
    equal_channels: bool = False
    rows: Lines = field(default_factory=Lines)
    columns: Lines = field(default_factory=Lines)
    patterns: tuple[Pattern, ...] = ()
    enlarged: int = 1
    jpeg: bool = False

    @property
    def correlated(self) -> bool:
        """Whether neighbours' noise is alike in both directions, as demosaicking, JPEG and resizing make it."""
        even = self.unevenness <= (EVEN if self.channels == 1 else EVEN_CHANNELS)
        alike = min(self.beside[0], self.below[0]) >= CORRELATED and even
        noise = alike and self.between_channels <= ALL_CHANNELS and not self.patterns
        return self.strength >= STRONG and noise

    @property
    def camera(self) -> bool:
        """Whether the model for a camera's noise serves a colour image better than that for independent noise.

        Fitted so that the gain in PSNR is the largest on synthetic photographs and next to none of the photographs with
        white noise or without any is taken for a camera's (`python -m benchmarks.camera_choice`). Where noise is
        strong less correlation is enough, since textures then count for less.
        """
        if self.channels != 3 or self.strength <= 0:
            return False
        alike, between = min(self.beside[0], self.below[0]), self.between_channels
        strong = self.strength > 0.07 and alike > 0.11 + 0.012 / self.strength
        clear = self.strength > 0.016 and alike > 0.4 and between < 0.62 and self.unevenness < 0.095
        return clear or (strong and between < 0.86 and self.unevenness < 0.12)


def of_stack(stack: Array, missing: Missing) -> NoiseKind:
    """The kind of noise of a stack (N, H, W, C), seen on its middle page."""
    index = len(stack) // 2
    gaps = missing.of(index, stack[index])
    return measure(filled(stack[index], gaps), gaps)


def measure(image: Array, missing: NDArray[np.bool_] | None = None) -> NoiseKind:
    """The kind of noise of an image (H, W) or (H, W, C); a few milliseconds a megapixel.

    Nothing is told of images below 32 pixels a side.

    Args:
        missing: of the image's shape, pixels that measured nothing, and were filled.
    """
    if image.ndim == 2:
        return measure(image[..., None], None if missing is None else missing[..., None])
    if min(image.shape[:2]) < 2 * SIDE:
        return NoiseKind()
    row_lines, column_lines = _lines(image)
    raw = _blocks(image)  # (n, C, SIDE²)
    if missing is not None:
        raw = raw[~_blocks(missing).any((1, 2))]
    raw = raw[(raw != raw[..., :1]).any((1, 2))]  # constant blocks are clipped, drawn or empty
    if not len(raw):
        return NoiseKind(channels=image.shape[-1])
    raw -= raw.mean((0, 2), keepdims=True)  # float32 would not see weak noise upon a high pedestal
    enlarged = _enlargement(image)
    chosen = _flattest(raw)
    residual = _without_slope(raw[chosen])
    energy = (residual**2).mean(2)
    std = float(np.sqrt(energy.mean()))
    level = raw.mean(2)
    low, high = np.percentile(level, (1, 99))
    span = max(float(high - low), SMALLEST_RANGE_8BIT if image.dtype == np.uint8 else 0.0, 1e-30)
    planes = residual.reshape(-1, SIDE, SIDE)[energy.reshape(-1) > 0]
    if not len(planes):
        return NoiseKind(rows=row_lines, columns=column_lines, enlarged=enlarged, equal_channels=_equal(raw))
    beside, below = (np.stack([_products(planes, *lag) for lag in lags]) for lags in (BESIDE, BELOW))
    power = _products(planes, 0, 0)
    unevenness = float(np.std(beside[0] / power - below[0] / power))
    noise = unevenness <= EVEN and std >= VISIBLE_NOISE * span  # else a texture's waves would be taken for a pattern
    return NoiseKind(
        channels=image.shape[-1],
        std=std,
        strength=std / span,
        beside=_pooled(beside, power),
        below=_pooled(below, power),
        diagonal=float(_products(planes, 1, 1).sum()) / float(power.sum()),
        unevenness=unevenness,
        between_channels=_between_channels(residual),
        equal_channels=_equal(raw),
        rows=row_lines,
        columns=column_lines,
        patterns=_patterns(planes) if noise else (),
        enlarged=enlarged,
        jpeg=_on_jpeg_grid(raw),
    )


def _lines(image: Array) -> tuple[Lines, Lines]:
    """Those of rows and of columns."""
    return lines.of_rows(image), lines.of_rows(image.transpose(1, 0, 2))


def _blocks(image: Array) -> Floats:
    """Blocks that lie on a grid of `SIDE` pixels, evenly spaced, (n, C, SIDE²)."""
    height, width, channels = image.shape
    rows, columns = height // SIDE, width // SIDE
    every = max(1, math.ceil(math.sqrt(rows * columns * channels / MOST_BLOCKS)))
    grid = image[: rows * SIDE, : columns * SIDE].reshape(rows, SIDE, columns, SIDE, channels)[::every, :, ::every]
    return grid.transpose(0, 2, 4, 1, 3).reshape(-1, channels, SIDE * SIDE).astype(np.float32)


def _flattest(raw: Floats) -> NDArray[np.int64]:
    """Indices of the blocks in which least happens but noise, among those with the fewest clipped pixels."""
    low, high = raw.min((0, 2), keepdims=True), raw.max((0, 2), keepdims=True)
    clipped = ((raw == low) | (raw == high)).mean(2).max(1)
    enough = min(len(raw), max(FEWEST, len(raw) // 20)) - 1
    usable = np.flatnonzero(clipped <= max(CLIPPED, float(np.partition(clipped, enough)[enough])))
    blocks = raw[usable]
    smooth = blocks @ _basis()
    energy: Floats = np.einsum("ncp,ncp->nc", blocks, blocks) - np.einsum("ncp,ncp->nc", smooth, smooth)  # (n, C)
    flatness = (energy / np.maximum(energy.mean(0), 1e-30)).mean(1)
    chosen: NDArray[np.int64] = usable[np.argsort(flatness, kind="stable")]
    return chosen[: max(FEWEST, int(len(usable) * FLATTEST))]


def _without_slope(blocks: Floats) -> Floats:
    """Blocks less the quadratic surface that fits each best."""
    basis = _basis()
    smooth: Floats = np.matmul(np.matmul(blocks, basis), basis.T)
    return blocks - smooth


@cache
def _basis() -> Floats:
    """Orthonormal quadratic surfaces, (SIDE², 6)."""
    y, x = np.mgrid[:SIDE, :SIDE] / (SIDE - 1) * 2 - 1
    shapes = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y]).reshape(6, -1)
    basis: Floats = np.linalg.qr(shapes.T)[0].astype(np.float32)
    return basis


def _products(planes: Floats, down: int, across: int) -> NDArray[np.float64]:
    """Mean product of pixels so far apart, of each block."""
    first, second = planes[:, down:, across:], planes[:, : SIDE - down, : SIDE - across]
    found: NDArray[np.float64] = (first * second).mean((1, 2), dtype=np.float64)
    return found


def _pooled(products: NDArray[np.float64], power: NDArray[np.float64]) -> tuple[float, float, float]:
    """Correlations at three distances from the products of each block, (3, n)."""
    first, second, third = (float(of.sum()) / float(power.sum()) for of in products)
    return first, second, third


def _between_channels(residual: Floats) -> float:
    channels = residual.shape[1]
    if channels < 2:
        return 0.0
    covariance = np.einsum("nip,njp->ij", residual, residual, dtype=np.float64)
    scale = np.sqrt(np.maximum(np.diagonal(covariance), 1e-30))
    pairs = np.triu_indices(channels, 1)
    return float((covariance / np.outer(scale, scale))[pairs].mean())


def _equal(raw: Floats) -> bool:
    return raw.shape[1] > 1 and bool((raw[:, 1:] == raw[:, :1]).all())


def _patterns(planes: Floats) -> tuple[Pattern, ...]:
    """Frequencies that stand out of the mean spectrum of the blocks."""
    spectrum = np.fft.rfft2(planes) / SIDE  # (n, SIDE, SIDE / 2 + 1)
    strength = np.abs(spectrum)
    power = np.percentile(strength, MOST, axis=0) ** 2 / EXPONENTIAL  # not the mean: one block's texture is no pattern
    limit = 2 * np.median(strength, axis=0)
    steady = np.abs((spectrum * np.minimum(1, limit / np.maximum(strength, 1e-30))).mean(0)) ** 2 * len(planes)
    about = _median_about(power)
    found = (power > PEAK * about) | (steady > STEADY_PEAK * about)
    found[0, 0] = False
    variance = float(_products(planes, 0, 0).mean())
    peaks = []
    for row, column in np.argwhere(found).tolist():
        down, across = min(row, SIDE - row), column
        if max(down, across) < 2:  # one period a block: what is left of the scene's slopes
            continue
        if column in (0, SIDE // 2) and row > SIDE // 2:  # the negative of one that is counted
            continue
        doubled = 1 if row in (0, SIDE // 2) and column in (0, SIDE // 2) else 2  # the frequency and its negative
        amplitude = doubled * float(np.median(strength[:, row, column])) / SIDE
        if amplitude**2 < VISIBLE**2 * variance:
            continue
        periods = [SIDE / f if f else math.inf for f in (down, across)]
        peaks.append(Pattern(periods[0], periods[1], amplitude))
    return tuple(sorted(peaks, key=lambda one: -one.amplitude)[:8])


def _median_about(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of every frequency the median power of the 24 about it; the spectrum repeats and mirrors at its ends."""
    whole = np.concatenate([power, np.roll(power[::-1, -2:0:-1], 1, 0)], 1)  # (SIDE, SIDE), of a real image
    shifts = [(i, j) for i in range(-2, 3) for j in range(-2, 3) if (i, j) != (0, 0)]
    found: NDArray[np.float64] = np.median([np.roll(whole, shift, (0, 1)) for shift in shifts], axis=0)
    return np.maximum(found[:, : power.shape[1]], 1e-30)


def _enlargement(image: Array) -> int:
    """How often pixels repeat in both directions, by where equal neighbours lie in some rows and columns."""
    ways = [_equal_neighbours(image), _equal_neighbours(image.transpose(1, 0, 2))]
    for times in ENLARGED:
        if all(_repeats(equal, times) for equal in ways):
            return times
    return 1


def _equal_neighbours(image: Array) -> NDArray[np.float64]:
    """Share of some rows in which a pixel equals the next one in one channel, of every column but the last."""
    some = image[np.unique(np.linspace(0, len(image) - 1, LOOKED_AT).astype(int)), :, image.shape[2] // 2]
    found: NDArray[np.float64] = (some[:, 1:] == some[:, :-1]).mean(0)
    return found


def _repeats(equal: NDArray[np.float64], times: int) -> bool:
    """Whether pixels are equal within groups of so many, wherever the first group begins, but not between groups."""
    if equal.max() < REPEATED:  # no mean is larger
        return False
    place = np.arange(len(equal))
    for start in range(times):
        between = (place + 1 - start) % times == 0
        if equal[~between].mean() >= REPEATED and equal[between].mean() <= NOT_REPEATED:
            return True
    return False


def _on_jpeg_grid(raw: Floats) -> bool:
    """Whether steps from pixel to pixel are larger where JPEG's blocks meet, in the flatter half of the blocks."""
    planes = raw.reshape(-1, SIDE, SIDE)
    ratios = []
    for steps in (np.abs(np.diff(planes, axis=2)).mean(1), np.abs(np.diff(planes, axis=1)).mean(2)):  # (n, SIDE − 1)
        inside = np.delete(steps, (SIDE // 4 - 1, SIDE // 2 - 1, 3 * SIDE // 4 - 1), axis=1)  # edges there count alike
        means = inside.mean(1)
        flat = means <= median(means)
        halves = steps[flat][:, [SIDE // 4 - 1, 3 * SIDE // 4 - 1]]  # resizing by a whole factor marks these as well
        others = max(median(means[flat]), median(halves.mean(1)), 1e-30)
        ratios.append(median(steps[flat, SIDE // 2 - 1]) / others)  # in most blocks: a chessboard has few such steps
    return bool(min(ratios) >= JPEG_STEP)
