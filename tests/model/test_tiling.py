import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from model.inference import tiling

sides = st.integers(1, 90)


@settings(deadline=None, max_examples=40)
@given(height=sides, width=sides, size=st.integers(16, 80), halo=st.integers(0, 64))
def test_cores_cover_the_image_once(height: int, width: int, size: int, halo: int) -> None:
    padded = tuple(tiling.padded_side(s, 8) for s in (height, width))
    covered = np.zeros(padded, int)
    for tile in tiling.plan(*padded, size=size, halo=halo, stride=8):
        covered[tile.core] += 1
        assert all(s.start % 8 == 0 and s.stop - s.start <= max(8, size) for s in tile.core)
        window = np.zeros(padded, bool)
        window[tile.window] = True
        inner = window[tile.window][tile.inner]
        assert inner.shape == covered[tile.core].shape
    assert np.all(covered == 1)


@settings(deadline=None, max_examples=40)
@given(height=sides, width=sides, size=st.integers(16, 80), halo=st.integers(0, 40))
def test_windows_read_what_padding_the_whole_page_would_give(height: int, width: int, size: int, halo: int) -> None:
    page = np.arange(height * width).reshape(height, width)
    padded = [tiling.padded_side(s, 8) for s in (height, width)]
    whole = np.pad(page, [(0, p - s) for p, s in zip(padded, page.shape, strict=True)], mode="reflect")
    halo -= halo % 8
    for tile in tiling.plan(*padded, size=size, halo=halo, stride=8):
        assert np.array_equal(tiling.read_window(page, tile.window), whole[tile.window])
