import numpy as np
import pytest
from scipy import ndimage

from model.arrays.squares import opened, straightness


@pytest.mark.parametrize("side", [1, 3, 8])
def test_opening_is_that_of_morphology(side: int) -> None:
    mask = ndimage.gaussian_filter(np.random.default_rng(0).random((70, 90)), 3) > 0.5
    square = np.ones((side, side), bool)
    windows = np.lib.stride_tricks.sliding_window_view(mask, (side, side)).all((2, 3))
    expected = np.zeros_like(mask)
    for row, column in np.argwhere(windows):
        expected[row : row + side, column : column + side] |= square
    assert np.array_equal(opened(mask, side), expected)


def test_frames_are_straight_and_blobs_are_not() -> None:
    frame = np.ones((120, 120), bool)
    frame[20:90, 31:110] = False
    blobs = ndimage.gaussian_filter(np.random.default_rng(0).random((120, 120)), 8) > 0.5
    assert straightness(frame, 16) == 1
    assert straightness(blobs, 16) < 0.3
    assert straightness(np.zeros((30, 30), bool), 16) == 0
    assert not opened(np.ones((5, 30), bool), 8).any()
