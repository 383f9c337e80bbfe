"""Squares inside masks: what is constant over an area, and how straight that area's edges are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def opened(mask: Mask, side: int) -> Mask:
    """The pixels of a mask (H, W) that lie in a square of `side` pixels of it, anywhere (morphological opening)."""
    if min(mask.shape) < side:
        return np.zeros_like(mask)
    corners = mask
    for axis in (0, 1):
        corners = _run(corners, side, axis)
    found = np.zeros((mask.shape[0] + side - 1, mask.shape[1] + side - 1), bool)
    found[side - 1 : side - 1 + corners.shape[0], side - 1 : side - 1 + corners.shape[1]] = corners
    for axis in (0, 1):
        found = ~_run(~found, side, axis)
    return found


def straightness(mask: Mask, length: int) -> float:
    """Share of a mask's edges that run straight along rows or columns for `length` pixels; 1 of rectangles."""
    total = straight = 0
    for way in (mask, mask.T):
        edges = way[1:] != way[:-1]
        total += int(edges.sum())
        straight += int(opened_lines(edges, length).sum())
    return straight / total if total else 0.0


def opened_lines(mask: Mask, length: int) -> Mask:
    """The pixels of a mask (H, W) that lie in a run of `length` pixels along a row of it."""
    if mask.shape[1] < length:
        return np.zeros_like(mask)
    starts = _run(mask, length, 1)
    padded = np.zeros((mask.shape[0], mask.shape[1] + length - 1), bool)
    padded[:, length - 1 : length - 1 + starts.shape[1]] = starts
    return ~_run(~padded, length, 1)


def _run(mask: Mask, length: int, axis: int) -> Mask:
    """Where a run of `length` set pixels begins along an axis, which it shortens by `length` − 1."""
    counts = np.cumsum(mask, axis, dtype=np.int32)
    size = mask.shape[axis] - length + 1
    first = np.take(counts, np.arange(length - 1, length - 1 + size), axis)
    before = np.take(counts, np.arange(size - 1), axis)
    first[(slice(1, None), slice(None)) if axis == 0 else (slice(None), slice(1, None))] -= before
    found: Mask = first == length
    return found
