"""Pixels that measured nothing: NaN, marks of detectors, padding of stitched mosaics, what a file declares as no data.

They are no brightness: they say nothing of the range or of the noise, and next to them a network would see an edge. So
they are filled from their surroundings before it looks, and put back bit for bit afterwards. What no file declares is
found only where it is certain; a scene's own black and white never is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.arrays import normalise
from model.arrays.squares import opened, straightness

PAGES = 16  # of a stack that are looked at for marks
SAMPLE = 1 << 16  # pixels of a page whose levels are compared
ENDS = (0.5, 99.5)  # percentiles between which the range of the others lies
FAR = 3.0  # ranges of all others that a mark lies away from them, with nothing between
REPEATS = 8  # pixels that must have a mark; one is enough at the end of an integer type
MOST_MARKS = 4
QUICK = 1 << 12  # pixels from which the range of the others is told
FEW_LEVELS = 3  # that the others have at least, which black and white have not
BLOCK = 8  # side of the constant squares that padding is known by
BAND = 4  # pixels; and side of the constant squares that gaps of detectors are known by, which are narrow
AREA = 16  # so many of them
MOST_PADDINGS = 2  # colours of large constant areas; more are a drawing's
NEAR = 0.02  # share of the others' range within which hardly anything may lie about the value of padding,
RARE = 1e-3  # of the others,
STEPS = 4  # and as many of their steps, where they are counts
STRAIGHT = 0.8  # share of the edges of dark padding that run along rows and columns,
SAME_BESIDE = 0.5  # and most of the pixels beside it that have its value: there black skies and sparse counts go on
LEVELS = 32  # that the others have at least: a drawing, a halftone or a mask has fewer
SMOOTH = 0.5  # share of the others that may equal their neighbours, as in a drawing,
RAGGED = 0.35  # and that may lie this near to padding, as in a text or between blinds:
BELOW_ZERO = (1, 2)  # detectors that count write -1 for a gap and -2 for a dead pixel
NARROW = 16  # so many of these

Array = NDArray[Any]
Mask = NDArray[np.bool_]
Declared = Callable[[int, Array], Mask | None]
"""Where page number so and so, (H, W, C), holds no data, as its file declares; None: everywhere something."""


@dataclass(frozen=True)
class Missing:
    """Which pixels of a stack measured nothing.

    Attributes:
        colours: values of all channels of a pixel that together mean that there is none.
        marks: (channel, value) pairs that mean it for one channel.
        areas: colours that mean it where they fill a square of `BLOCK` pixels; single pixels of them measured it.
        declared: what the file says.
        zero: the value that stands for the file's 0.
    """

    colours: tuple[tuple[float, ...], ...] = ()
    marks: tuple[tuple[int, float], ...] = ()
    areas: tuple[tuple[float, ...], ...] = ()
    declared: Declared | None = None
    zero: int = 0

    @property
    def found(self) -> bool:
        """Whether there is more than what the file says, which is told where it is read."""
        return bool(self.colours or self.marks or self.areas or not self.declared)

    @property
    def values(self) -> list[float]:
        """The values that were found to be marks, as the file counts."""
        found = {value - self.zero for _, value in self.marks}
        found |= {value - self.zero for colour in (*self.colours, *self.areas) for value in colour}
        return sorted(found)

    def of(self, index: int, page: Array) -> Mask | None:
        """Where page number `index` (H, W, C) of the stack measured nothing, (H, W, C); None: nowhere."""
        found = self.declared(index, page) if self.declared else None
        if page.dtype.kind == "f" and not np.isfinite(page.sum(dtype=np.float64)):
            found = _either(found, ~np.isfinite(page))
        for colour in self.colours:
            found = _either(found, (page == np.array(colour, page.dtype)).all(-1, keepdims=True))
        for colour in self.areas:
            same = np.logical_and.reduce(page == np.array(colour, page.dtype), -1)
            found = _either(found, opened(same, BLOCK)[..., None])
        for channel, value in self.marks:
            mask = np.zeros(page.shape, bool)
            mask[..., channel] = page[..., channel] == page.dtype.type(value)
            found = _either(found, mask)
        return None if found is None or not found.any() else np.broadcast_to(found, page.shape)


def find(stack: Array, declared: Declared | None = None, zero: int = 0, pages: Sequence[int] | None = None) -> Missing:
    """What means "nothing was measured" in a stack (N, H, W, C).

    Args:
        declared: what the file says already.
        zero: the value that stands for the file's 0.
        pages: which pages to look at; default: some, evenly spaced.
    """
    if pages is None:
        pages = np.unique(np.linspace(0, len(stack) - 1, PAGES).astype(int)).tolist()
    found = Missing(declared=declared, zero=zero)
    for index in pages:
        page = stack[index]
        known = _known_only(page, found.of(index, page))
        for channel in range(page.shape[-1]):
            plane = page[..., channel]
            values = known[..., channel]
            new = [(channel, value) for value in (*_far(plane, values), *_below_zero(plane, values, zero))]
            found = replace(found, marks=tuple(dict.fromkeys((*found.marks, *new))))
        colours, areas = _padding(page, found.of(index, page))
        found = replace(
            found,
            colours=tuple(dict.fromkeys((*found.colours, *colours))),
            areas=tuple(dict.fromkeys((*found.areas, *areas))),
        )
    return found


def known_sample(stack: Array, pages: Sequence[int], channels: slice, missing: Missing) -> Array:
    """As `normalise.sample`, without the pixels of which a channel is missing; empty if all are."""
    if stack.dtype.kind != "f" and not (missing.colours or missing.marks or missing.areas or missing.declared):
        return normalise.sample(stack, pages, channels)
    chosen = normalise.sampled_pages(stack, pages)
    found = []
    for index in chosen:
        page = np.ascontiguousarray(stack[index])
        gaps = missing.of(index, page)
        values = normalise.sample(page[None], [0], channels, normalise.SAMPLE // len(chosen))
        if gaps is not None:
            flags = normalise.sample(np.ascontiguousarray(gaps)[None], [0], channels, normalise.SAMPLE // len(chosen))
            width = channels.stop - channels.start
            values = values.reshape(-1, width)[~flags.reshape(-1, width).any(1)].reshape(-1)
        found.append(values)
    return np.concatenate(found)


def as_seen(missing: Mask, channels: int) -> Mask:
    """Missing pixels (h, w, C) of a page as (c, h, w) of what the network sees.

    One intensity of all channels is missing where any of them is.
    """
    seen = missing.transpose(2, 0, 1)
    return seen if len(seen) == channels else np.logical_or.reduce(seen, keepdims=True)


def filled(page: Array, missing: Mask | None) -> Array:
    """A page (H, W, C) whose missing pixels continue their surroundings smoothly; of the page's type.

    Known pixels are averaged over ever larger squares, and a missing one takes the smallest square's that has any
    ("pull-push": Gortler et al., "The Lumigraph", SIGGRAPH 1996, section 3.4.1).
    """
    if missing is None:
        return page
    out = page.copy()
    for channel in range(page.shape[-1]):
        gaps = missing[..., channel]
        if gaps.any():
            values = page[..., channel].astype(np.float64 if page.dtype.itemsize > 2 else np.float32)
            values[gaps] = 0
            smooth = _pull_push(values, (~gaps).astype(values.dtype))[gaps]
            out[..., channel][gaps] = np.rint(smooth) if page.dtype.kind in "iu" else smooth
    return out


def _either(first: Mask | None, second: Mask) -> Mask:
    return second if first is None else first | second


def _known_only(page: Array, missing: Mask | None) -> Array:
    """Some pixels (n, C) of a page, without those of which a channel is known to be missing."""
    step = max(1, int((page.shape[0] * page.shape[1] / SAMPLE) ** 0.5)) | 1
    values = page[::step, ::step].reshape(-1, page.shape[-1])
    return values if missing is None else values[~missing[::step, ::step].reshape(values.shape).any(1)]


def _pull_push(values: Array, weights: Array) -> Array:
    """Values (H, W) where weights are 1, and a smooth continuation where they are 0."""
    height, width = values.shape
    if weights.all():
        return values
    if max(values.shape) <= 2:
        mean = values.sum() / max(weights.sum(), 1)
        return np.where(weights > 0, values, mean).astype(values.dtype)
    even = ((0, height % 2), (0, width % 2))
    sums = _halved(np.pad(values * weights, even))
    counts = _halved(np.pad(weights, even))
    known = (counts > 0).astype(values.dtype)
    coarse = _pull_push(np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0), known)
    finer = _doubled(coarse)[:height, :width]
    return np.where(weights > 0, values, finer)


def _halved(values: Array) -> Array:
    found: Array = values[::2, ::2] + values[1::2, ::2] + values[::2, 1::2] + values[1::2, 1::2]
    return found


def _doubled(values: Array) -> Array:
    """Twice as large by linear interpolation between the middles of the squares."""
    for axis in (0, 1):
        values = np.moveaxis(values, axis, 0)
        before, after = np.concatenate([values[:1], values[:-1]]), np.concatenate([values[1:], values[-1:]])
        pairs = np.stack([0.75 * values + 0.25 * before, 0.75 * values + 0.25 * after], 1)
        values = np.moveaxis(pairs.reshape(-1, *values.shape[1:]), 0, axis)
    return values


def _far(plane: Array, values: Array) -> list[float]:
    """Marks that lie several ranges of all other pixels away from them, above or below."""
    if plane.dtype == np.uint8:  # has no room for marks beside a picture
        return []
    known = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    found: list[float] = []
    for above in (True, False, True):  # again, since marks below hide those above
        if known.size:
            rest = plane[~np.isin(plane, found)] if found else plane
            found += _far_end(rest, known.astype(np.float64), above)
            known = known[~np.isin(known, found)] if found else known
    return found


def _far_end(plane: Array, known: NDArray[np.float64], above: bool) -> list[float]:
    limits = np.iinfo(plane.dtype) if plane.dtype.kind in "iu" else np.finfo(plane.dtype)
    known = known[:: max(1, known.size // QUICK)]
    extreme = float(_end(plane, above))
    # The marks themselves may be many, and bend the percentiles.
    others = known[known < extreme] if above else known[known > extreme]
    for _ in range(MOST_MARKS):
        if len(np.unique(others)) < FEW_LEVELS:
            return []
        low, high = (float(v) for v in np.percentile(others, ENDS))
        reach = FAR * max(high - low, float(np.spacing(abs(high))))
        limit = high + reach if above else low - reach
        top = others.max() if above else others.min()
        if (top <= limit) if above else (top >= limit):
            break
        others = others[others < top] if above else others[others > top]
    if (extreme <= limit) if above else (extreme >= limit):
        return []
    third = (high + reach / FAR) if above else (low - reach / FAR)  # nothing may lie between
    beyond = plane[plane > np.float64(third)] if above else plane[plane < np.float64(third)]
    levels, counts = np.unique(beyond[np.isfinite(beyond)], return_counts=True)
    if not 0 < len(levels) <= MOST_MARKS or ((levels[0] <= limit) if above else (levels[-1] >= limit)):
        return []
    certain = [n >= REPEATS or level in (limits.min, limits.max) for level, n in zip(levels, counts, strict=True)]
    return [float(level) for level in levels] if all(certain) else []


def _end(plane: Array, above: bool) -> Any:
    """The greatest or least value that is a number."""
    extreme = plane.max() if above else plane.min()
    if plane.dtype.kind != "f" or np.isfinite(extreme):
        return extreme
    finite = plane[np.isfinite(plane)]
    return finite.max() if above else finite.min()


def _below_zero(plane: Array, values: Array, zero: int) -> list[float]:
    """-1 and -2 of detectors that count, in data that is never negative otherwise."""
    if plane.dtype == np.uint8 or plane.min() >= zero:
        return []
    with np.errstate(invalid="ignore"):
        negative, counts = np.unique(plane[plane < zero], return_counts=True)
    allowed = [zero - below for below in BELOW_ZERO]
    if not np.isin(negative, allowed).all() or counts.sum() < REPEATS:
        return []
    others = values[values >= zero]
    if not others.size or (others.dtype.kind == "f" and (others != np.rint(others)).any()):
        return []
    gap = float(others.min()) - zero >= STEPS
    bands = any(_squares(plane == level, BAND) >= NARROW for level in negative)
    return [float(level) for level in negative] if gap or bands else []


def _squares(mask: Mask, side: int) -> int:
    """How many squares of a grid lie inside a mask."""
    height, width = (length // side for length in mask.shape)
    cut = mask[: height * side, : width * side].reshape(height, side, width, side)
    return int(cut.all((1, 3)).sum())


Colours = list[tuple[float, ...]]


def _padding(page: Array, missing: Mask | None) -> tuple[Colours, Colours]:
    """Colours of large constant areas that nothing else in the page comes near, and of those with straight edges."""
    height, width = (length // BLOCK for length in page.shape[:2])
    if height * width < 2 * AREA:
        return [], []
    grid = page[: height * BLOCK, : width * BLOCK].reshape(height, BLOCK, width, BLOCK, -1)
    corners = grid[:, 0, :, 0]
    same = (corners == grid[:, BLOCK // 2, :, BLOCK - 1]).all(-1) & (corners == grid[:, BLOCK - 1, :, 1]).all(-1)
    if same.sum() < AREA:
        return [], []
    rows, columns = np.nonzero(same)
    constant = (grid[rows, :, columns] == corners[rows, None, None, columns].reshape(len(rows), 1, 1, -1)).all(
        (1, 2, 3)
    )
    colours, counts = np.unique(corners[rows[constant], columns[constant]], axis=0, return_counts=True)
    often = [colour for colour, n in zip(colours, counts, strict=True) if n >= AREA]
    if len(often) > MOST_PADDINGS:
        return [], []
    apart: Colours = []
    straight: Colours = []
    for colour in often:
        how = _told_apart(page, colour, missing)
        if how is not None:
            (apart if how == "by value" else straight).append(tuple(float(v) for v in colour))
    return apart, straight


def _told_apart(page: Array, colour: Array, missing: Mask | None) -> str | None:
    """How constant areas of a colour are known to be padding; None if they are not."""
    padding = (page == colour).all(-1)
    if missing is not None:
        padding &= ~missing.any(-1)
    other = ~padding if missing is None else ~(padding | missing.any(-1))
    values = page[other]
    if len(values) < BLOCK**2 * AREA or not padding.any():
        return None
    values = values[:: max(1, len(values) // SAMPLE)].astype(np.float64)
    span = np.ptp(np.percentile(values, ENDS, axis=0), axis=0)  # (C,)
    if span.max() == 0 or len(np.unique(values[:, 0])) < LEVELS or _drawn(page, other, padding):
        return None
    distance = (np.abs(values - colour) / np.maximum(span, 1e-30)).max(1)
    if _far_from_all(distance, other.sum() / padding.sum()):
        overexposed = page.dtype.kind in "iu" and (colour == np.iinfo(page.dtype).max).all()
        return None if overexposed and not _has_straight_edges(padding) else "by value"
    return "by edges" if (colour <= values.min(0)).all() and _has_straight_edges(padding) else None


def _far_from_all(distance: NDArray[np.float64], times: float) -> bool:
    """Whether no other pixel comes near, from their distances in ranges; there are so many `times` more of them."""
    near = float(np.mean(distance <= NEAR))
    if max(near, near * times / 5) > RARE:  # few things are as bright as the stars that are saturated
        return False
    nearest = np.unique(np.sort(distance)[int(RARE * len(distance)) :])[:LEVELS]
    step = float(np.median(np.diff(nearest))) if len(nearest) > 1 else np.inf
    return bool(nearest[0] > STEPS * step)


def _has_straight_edges(padding: Mask) -> bool:
    """Whether areas have the straight edges of a frame, and what lies beside them is mostly of another colour."""
    areas = opened(padding, BLOCK)
    beside = np.zeros_like(areas)
    for near in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
        beside[near[0]] |= areas[near[1]]
        beside[:, near[0]] |= areas[:, near[1]]
    beside &= ~areas
    if not beside.any() or padding[beside].mean() > SAME_BESIDE:
        return False
    return straightness(areas, 2 * BLOCK) >= STRAIGHT


def _drawn(page: Array, other: Mask, padding: Mask) -> bool:
    """Whether what is not padding looks drawn: made of equal neighbours, or of thin strokes."""
    pairs = other[:, 1:] & other[:, :-1]
    equal = (page[:, 1:] == page[:, :-1]).all(-1) & pairs
    if equal.sum() > SMOOTH * max(1, pairs.sum()):
        return True
    beside = np.zeros(other.shape, bool)
    for near in ((slice(BAND, None), slice(None, -BAND)), (slice(None, -BAND), slice(BAND, None))):
        beside[near[0]] |= padding[near[1]]
        beside[:, near[0]] |= padding[:, near[1]]
    return bool((beside & other).sum() > RAGGED * other.sum())
