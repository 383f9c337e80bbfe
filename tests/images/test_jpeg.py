"""JPEG out is never coarser than JPEG in, gray stays gray and CMYK stays CMYK."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from images.decode import decode_here
from images.encode import encode
from images.errors import UnsupportedFormat
from tests.harness import files


@pytest.mark.parametrize("quality", [20, 75, 90, 98, 100])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_quality_and_subsampling(quality: int, subsampling: int, progressive: bool) -> None:
    data = files.pillow(files.smooth(61, 83), "JPEG", quality=quality, subsampling=subsampling, progressive=progressive)
    decoded = decode_here(data)
    before, after = Image.open(io.BytesIO(data)), Image.open(io.BytesIO(encode(decoded, decoded.pixels).data))
    assert before.layer == after.layer  # sampling factors and table of each component
    for index, table in before.quantization.items():
        assert all(new <= old for new, old in zip(after.quantization[index], table, strict=True))
    assert np.abs(np.asarray(after).astype(int) - np.asarray(before)).mean() < 1.5


def test_gray() -> None:
    decoded = decode_here(files.pillow(files.smooth(channels=1), "JPEG"))
    assert Image.open(io.BytesIO(encode(decoded, decoded.pixels).data)).mode == "L"


@pytest.mark.parametrize("target", ["jpeg", "tiff"])
def test_cmyk_keeps_its_inks(target: str) -> None:
    inks = Image.merge("CMYK", Image.fromarray(files.smooth(channels=4)).split())
    buffer = io.BytesIO()
    inks.save(buffer, "JPEG", quality=98)
    decoded = decode_here(buffer.getvalue())
    assert decoded.pixels.shape == (1, 48, 64, 4)
    result = Image.open(io.BytesIO(encode(decoded, decoded.pixels, target).data))
    assert result.mode == "CMYK"
    assert np.abs(np.asarray(result).astype(int) - np.asarray(inks)).mean() < 3


def test_cmyk_is_not_passed_off_as_rgba() -> None:
    buffer = io.BytesIO()
    Image.new("CMYK", (8, 8)).save(buffer, "JPEG")
    decoded = decode_here(buffer.getvalue())
    with pytest.raises(UnsupportedFormat, match="4 channels"):
        encode(decoded, decoded.pixels, "png")


def test_lossless_and_arithmetic_coding_are_refused_kindly() -> None:
    data = bytearray(files.pillow(files.smooth(), "JPEG"))
    data[data.index(b"\xff\xc0") + 1] = 0xC3
    with pytest.raises(UnsupportedFormat, match="rare coding"):
        decode_here(bytes(data))
