"""Results as float32: the values themselves, in the units of the file, with its marks and its metadata."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import tifffile

from images.decode import Decoded, decode_here
from images.encode import encode, encode_to, lost
from images.errors import UnsupportedFormat
from tests.harness import files

Array = np.ndarray[Any, Any]


def shifted(decoded: Decoded, by: float, output_format: str | None = None) -> bytes:
    """The float32 file of a result in which every value rose by `by` stored steps."""
    pixels = decoded.pixels.astype(np.float32) + np.float32(by)
    return encode(decoded, pixels, output_format, output_dtype="float32").data


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int8", "int16", "uint32", "int32", "float16", "float64"])
@pytest.mark.parametrize("kind", ["tiff", "npy"])
def test_values_are_not_rounded(dtype: str, kind: str) -> None:
    pixels = files.noise((2, 9, 8), "int8").astype(np.int64) + (128 if dtype.startswith("u") else 0)
    typed = pixels.astype(dtype)
    data = files.npy(typed) if kind == "npy" else files.tiff(typed, photometric="minisblack", metadata=None)
    result = shifted(decode_here(data), 0.25)
    found = np.load(io.BytesIO(result)) if kind == "npy" else tifffile.imread(io.BytesIO(result))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, pixels + 0.25)


def test_a_png_becomes_a_tiff_of_floats() -> None:
    pixels = files.noise((9, 8, 3), "uint16")
    found = tifffile.imread(io.BytesIO(shifted(decode_here(files.png(pixels)), 0.5, "tiff")))
    np.testing.assert_array_equal(found, pixels + np.float32(0.5))


def test_ome_xml_tells_the_new_type() -> None:
    data = files.tiff(files.noise((3, 9, 8), "uint16"), photometric="minisblack", ome=True, metadata={"axes": "ZYX"})
    with tifffile.TiffFile(io.BytesIO(shifted(decode_here(data), 0.5))) as file:
        assert file.ome_metadata and 'Type="float"' in file.ome_metadata
        assert file.series[0].dtype == np.float32 and file.series[0].shape == (3, 9, 8)


def test_white_is_zero_becomes_black_is_zero() -> None:
    data = files.tiff(np.array([[0, 1, 255]], np.uint8), photometric="miniswhite", metadata=None)
    with tifffile.TiffFile(io.BytesIO(shifted(decode_here(data), 0.5))) as file:
        assert file.pages[0].aspage().photometric == tifffile.PHOTOMETRIC.MINISBLACK
        np.testing.assert_array_equal(file.asarray(), [[255.5, 254.5, 0.5]])


def test_a_fits_file_holds_physical_values() -> None:
    stored = np.array([[-5, 7, 100], [-32768, 3, 4]], np.int16)
    cards = ["BSCALE  =                  0.5", "BZERO   =               1000.0", "BUNIT   = 'electron'"]
    data = files.fits(stored, *cards, "BLANK   =               -32768")
    result = shifted(decode_here(data), 1)
    again = decode_here(result)
    assert again.info.dtype == "float32" and again.units.name == "electron" and len(result) % 2880 == 0
    assert b"BSCALE" not in result and b"BZERO" not in result and b"BLANK" not in result
    expected = np.where(stored == -32768, np.nan, 1000 + 0.5 * (stored + 1.0))
    np.testing.assert_array_equal(again.restore(again.pixels)[0, ..., 0], expected.astype(np.float32))


def test_a_dicom_s_slope_is_applied() -> None:
    words = np.array([[0, 10], [20, 4000]], np.uint16)
    decoded = decode_here(files.dicom(words, RescaleSlope=2, RescaleIntercept=-1024, PixelPaddingValue=4000))
    found = tifffile.imread(io.BytesIO(shifted(decoded, 0.25, "tiff")))
    np.testing.assert_array_equal(found, [[-1023.5, -1003.5], [-983.5, np.nan]])
    with pytest.raises(UnsupportedFormat, match="choose tiff"):
        shifted(decoded, 0)


def test_marks_of_a_tiff_stay() -> None:
    pixels = np.array([[5, 9999, 7]], np.uint16)
    data = files.tiff(pixels, metadata=None, extratags=[(42113, 2, 0, "9999", True)])
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(shifted(decode_here(data), 0.5))), [[5.5, 9999, 7.5]])


def test_a_large_integer_that_the_model_left_alone_is_rounded_once() -> None:
    pixels = np.array([[16_777_217, 2**31 - 1]], np.int32)
    decoded = decode_here(files.npy(pixels))
    found = np.load(io.BytesIO(encode(decoded, decoded.pixels, output_dtype="float32").data))
    np.testing.assert_array_equal(found, pixels.astype(np.float32))


def test_a_stack_goes_page_by_page() -> None:
    stack = files.noise((4, 9, 8), "uint16")
    decoded = decode_here(files.tiff(stack, photometric="minisblack", metadata=None))
    buffer = io.BytesIO()
    encode_to(buffer, decoded, decoded.pixels.astype(np.float32) + 0.5, output_dtype="float32")
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(buffer.getvalue())), stack + np.float32(0.5))
    assert lost(decoded, output_dtype="float32") == ()
