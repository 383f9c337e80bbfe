"""Layers become what the service takes, and results lie where their layers lie."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image
from napari_b2s.layers import data_of, look_of, pages_of, pixels_of


@pytest.mark.parametrize(
    ("shape", "rgb", "sent", "pages"),
    [
        ((7, 9), False, (7, 9), (1, (7, 9))),
        ((7, 9, 3), True, (7, 9, 3), (1, (7, 9, 3))),
        ((7, 9, 4), True, (7, 9, 3), (1, (7, 9, 3))),
        ((5, 7, 9), False, (5, 7, 9, 1), (5, (7, 9))),
        ((2, 5, 7, 9), False, (10, 7, 9, 1), (10, (7, 9))),
        ((5, 7, 9, 3), True, (5, 7, 9, 3), (5, (7, 9, 3))),
    ],
)
def test_axes_go_and_come_back(
    shape: tuple[int, ...], rgb: bool, sent: tuple[int, ...], pages: tuple[int, tuple[int, ...]]
) -> None:
    data = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    layer = Image(data, rgb=rgb)
    pixels = pixels_of(layer)
    assert pixels.shape == sent
    assert np.array_equal(data_of(pixels, layer), data)
    assert (len(pages_of(layer)), pages_of(layer)[0].shape) == pages


def test_the_finest_level_of_a_multiscale_layer_is_sent() -> None:
    levels = [np.zeros((16, 16)), np.zeros((8, 8))]
    layer = Image(levels, multiscale=True)
    assert pixels_of(layer).shape == (16, 16)
    assert data_of(np.ones((16, 16)), layer).shape == (16, 16)


def test_masks_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match="Layer mask holds bool"):
        pixels_of(Image(np.zeros((4, 4), bool), name="mask"))


def test_a_result_lies_and_looks_as_its_layer() -> None:
    layer = Image(
        np.zeros((3, 8, 8), np.uint16), name="cells", scale=(2, 0.5, 0.5), translate=(1, 2, 3), colormap="green",
        contrast_limits=(5, 900), metadata={"stage": 7},
    )  # fmt: skip
    made = Image(np.ones((3, 8, 8), np.uint16), **look_of(layer, {"model": "base-gray"}))
    assert made.name == "cells denoised"
    assert tuple(made.scale) == (2, 0.5, 0.5) and tuple(made.translate) == (1, 2, 3)
    assert made.colormap.name == "green" and tuple(made.contrast_limits) == (5, 900)
    assert made.metadata == {"stage": 7, "b2s": {"model": "base-gray"}}
