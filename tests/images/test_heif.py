"""AVIF and HEIC: stills of 8, 10 and 12 bit, turned or not, with their depth kept."""

from __future__ import annotations

import io

import imagecodecs
import numpy as np
import pillow_heif
import pytest
from PIL import Image

from images.decode import decode_here
from images.encode import encode
from images.errors import UnsupportedFormat
from images.probe import probe
from tests.harness import files


def heic(pixels: files.Array, **options: object) -> bytes:
    """A HEIC of (H, W, C) by libheif; uint16 is stored with 10 bit."""
    deep = pixels.dtype == np.uint16
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[pixels.shape[2]] + (";16" if deep else "")
    size = pixels.shape[1], pixels.shape[0]
    image = pillow_heif.from_bytes(mode=mode, size=size, data=np.ascontiguousarray(pixels).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, quality=95, chroma=444, **options)
    return buffer.getvalue()


def error(left: files.Array, right: files.Array) -> float:
    """Mean absolute difference, of the whole range."""
    return float(np.abs(left.astype(float) - right).mean()) / np.iinfo(left.dtype).max


@pytest.mark.parametrize("channels", [3, 4])
def test_heic_of_8_bit(channels: int) -> None:
    pixels = files.smooth(64, 96, channels)
    decoded = decode_here(heic(pixels))
    assert probe(heic(pixels)).format == "heic"
    assert error(decoded.pixels[0], pixels[..., :3]) < 0.01
    again = decode_here(encode(decoded, decoded.pixels).data)
    assert (again.info.bits, again.info.has_alpha) == (8, channels == 4)
    assert error(again.pixels, decoded.pixels) < 0.01


def test_heic_of_10_bit_keeps_its_depth() -> None:
    pixels = files.smooth(64, 96).astype(np.uint16) * 256
    decoded = decode_here(heic(pixels))
    assert (decoded.pixels.dtype, decoded.info.bits) == (np.uint16, 10)
    again = decode_here(encode(decoded, decoded.pixels).data)
    assert (again.pixels.dtype, again.info.bits) == (np.uint16, 10)
    assert error(again.pixels, decoded.pixels) < 0.01


def test_turned_heic_is_upright_once() -> None:
    data = heic(files.smooth(64, 96), exif=b"Exif\0\0" + files.exif(6))
    info, decoded = probe(data), decode_here(data)
    assert (info.width, info.height) == (64, 96) == (decoded.info.width, decoded.info.height)
    again = decode_here(encode(decoded, decoded.pixels).data)
    assert error(again.pixels, decoded.pixels) < 0.01
    shown = Image.open(io.BytesIO(encode(decoded, decoded.pixels, "png").data))
    assert shown.getexif().get(274, 1) == 1


@pytest.mark.parametrize("bits", [10, 12])
def test_deep_avif_comes_back_as_16_bit_png(bits: int) -> None:
    pixels = files.smooth(64, 96).astype(np.uint16) << (bits - 8)
    decoded = decode_here(imagecodecs.avif_encode(pixels, level=100, bitspersample=bits))
    assert (decoded.pixels.dtype, decoded.info.bits) == (np.uint16, bits)
    assert error(decoded.pixels[0], pixels << (16 - bits)) < 0.01
    assert "16-bit PNG" in decoded.warnings[0]
    result = encode(decoded, decoded.pixels)
    assert result.media_type == "image/png"
    np.testing.assert_array_equal(imagecodecs.png_decode(result.data), decoded.pixels[0])


@pytest.mark.parametrize("channels", [3, 4])
def test_avif_of_8_bit(channels: int) -> None:
    pixels = files.smooth(64, 96, channels)
    decoded = decode_here(files.pillow(pixels, "AVIF", quality=95, subsampling="4:4:4"))
    result = Image.open(io.BytesIO(encode(decoded, decoded.pixels).data))
    assert result.mode == ("RGBA" if channels == 4 else "RGB")
    assert error(np.asarray(result)[..., :3], pixels[..., :3]) < 0.01


def test_films_are_refused_kindly() -> None:
    frames = [Image.fromarray(files.smooth() + np.uint8(9 * n)) for n in range(3)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "AVIF", save_all=True, append_images=frames[1:])
    with pytest.raises(UnsupportedFormat, match="frames"):
        probe(buffer.getvalue())
