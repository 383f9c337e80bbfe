"""Which pages follow each other in time or depth, as the programs say that write them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import tifffile

from images.decode import decode, decode_here

TIMES, DEPTHS, CHANNELS = 4, 3, 2
BY_TIME = tuple(page % (DEPTHS * CHANNELS) for page in range(TIMES * DEPTHS * CHANNELS))


def written(shape: tuple[int, ...], **options: Any) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (*shape, 16, 16)).astype(np.uint8)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, photometric="minisblack", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("program", [{"imagej": True}, {"ome": True}, {}])
def test_frames_follow_time_before_depth_and_never_mix_channels(program: dict[str, Any]) -> None:
    decoded = decode_here(written((TIMES, DEPTHS, CHANNELS), metadata={"axes": "TZCYX"}, **program))
    assert decoded.page_series == decoded.series == BY_TIME
    assert decoded.page_channels == (0, 1) * (TIMES * DEPTHS)


def test_order_of_the_axes_is_the_file_s() -> None:
    decoded = decode_here(written((DEPTHS, TIMES), ome=True, metadata={"axes": "ZTYX"}))
    assert decoded.series == tuple(np.repeat(range(DEPTHS), TIMES))


def test_a_stack_without_time_follows_depth() -> None:
    decoded = decode_here(written((DEPTHS, CHANNELS), imagej=True, metadata={"axes": "ZCYX"}))
    assert decoded.series == (0, 1) * DEPTHS


def test_pages_that_nobody_explains_follow_each_other() -> None:
    decoded = decode(written((5,), metadata=None))
    assert decoded.page_series is None and decoded.series == (0,) * 5


def test_a_description_of_another_number_of_pages_is_not_believed() -> None:
    text = "ImageJ=1.53\nimages=8\nframes=8\nhyperstack=true\n"
    decoded = decode_here(written((5,), metadata=None, description=text))
    assert decoded.page_series is None


def test_the_series_come_out_of_the_decoder_s_own_process() -> None:
    assert decode(written((TIMES, DEPTHS, CHANNELS), ome=True, metadata={"axes": "TZCYX"})).series == BY_TIME
