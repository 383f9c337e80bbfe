"""Ordinary images are no mosaics, have no gaps and no line noise: no step before the network changes them."""

from __future__ import annotations

import pytest

from images.mosaic_search import has_mosaic
from model.arrays.missing import find
from model.inference.line_step import added
from tests.harness.ordinary_images import DRAWERS, draw


@pytest.mark.parametrize("first", range(len(DRAWERS)), ids=[drawer.__name__ for drawer in DRAWERS])
def test_no_step_changes_them(first: int) -> None:
    for seed in range(first, 12 * len(DRAWERS), len(DRAWERS)):
        kind, image = draw(seed)
        stack = image[None, :, :, None]
        assert find(stack).of(0, stack[0]) is None, f"gaps in {kind} {seed}"
        assert added(stack[0], "auto") is None, f"lines in {kind} {seed}"
        assert not has_mosaic(stack[..., 0]), f"a mosaic in {kind} {seed}"
