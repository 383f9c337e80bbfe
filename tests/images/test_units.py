"""Stated bits and units: samples are read as every reader shows them, and what else lies in their words comes back."""

from __future__ import annotations

import io
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
import tifffile
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import convert_color_space
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000Lossless, RLELossless

from images.bit_field import BitField
from images.crop import crop
from images.decode import Decoded, decode_here
from images.encode import encode
from images.units import STORED, Units
from tests.harness import files

Array = np.ndarray[Any, Any]


def words_of(data: bytes) -> Array:
    """The words of a DICOM file's pixels (H, W), all bits of them."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    kind = f"<{'i' if dataset.PixelRepresentation else 'u'}{dataset.BitsAllocated // 8}"
    return np.frombuffer(dataset.PixelData, kind).reshape(dataset.Rows, dataset.Columns)


def brighter(decoded: Decoded, by: int) -> bytes:
    return encode(decoded, (decoded.pixels + decoded.pixels.dtype.type(by)).astype(decoded.pixels.dtype)).data


# ---- FITS ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "zero", "values"),
    [("int16", 1 << 15, "uint16"), ("int32", 1 << 31, "uint32"), ("uint8", -128, "int8"), ("int16", 0, "int16")],
)
def test_an_integer_that_fits_lacks_is_read_as_it(stored: str, zero: int, values: str) -> None:
    shown = np.array([[0, 1, 5, 100], [7, 90, 3, 2]])
    data = files.fits((shown - zero).astype(stored), f"BZERO   = {zero:>20}", "BSCALE  =                  1.0")
    decoded = decode_here(data)
    assert decoded.info.dtype == values and decoded.units == STORED
    np.testing.assert_array_equal(decoded.pixels[0, ..., 0] - decoded.shift, shown)
    assert encode(decoded, decoded.pixels).data == data
    more = decode_here(brighter(decoded, 3))
    np.testing.assert_array_equal(more.restore(more.pixels)[0, ..., 0], shown + 3)


def test_unsigned_fits_can_become_a_png_of_the_same_numbers() -> None:
    shown = files.noise((9, 8), "uint16")
    decoded = decode_here(files.fits((shown.astype(np.int32) - 32768).astype(np.int16), "BZERO   = 32768"))
    png = decode_here(encode(decoded, decoded.pixels, "png").data)
    np.testing.assert_array_equal(png.pixels[0, ..., 0], shown)


def test_blank_pixels_of_an_unsigned_fits_are_found_by_their_stored_value() -> None:
    stored = np.full((8, 8), -32000, np.int16)
    stored[2, 3] = -32768
    data = files.fits(stored, "BZERO   = 32768", "BLANK   = -32768")
    decoded = decode_here(data)
    assert decoded.no_data == (0, 0) and "1 samples hold no data" in decoded.warnings[0]
    assert encode(decoded, decoded.pixels).data == data


@pytest.mark.parametrize(
    ("cards", "units"),
    [
        (["BSCALE  = 0.5", "BZERO   = 1000.0", "BUNIT   = 'electron'"], Units(0.5, 1000.0, "electron")),
        (["BZERO   = 32768", "BUNIT   = 'ADU/s   '  / per second"], Units(name="ADU/s")),
        (["BSCALE  = 0.0"], STORED),
        (["BUNIT   = 'O''Neill'"], Units(name="O'Neill")),
        ([], STORED),
    ],
)
def test_units_of_a_fits_file(cards: list[str], units: Units) -> None:
    assert decode_here(files.fits(files.noise((8, 8), "int16"), *cards)).units == units


# ---- DICOM -----------------------------------------------------------------------------------------------------------


def with_overlay(words: Array, bit: int = 12, compressed: str = "", **attributes: Any) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(files.dicom(words, **attributes)))
    for element, kind, value in (
        (0x10, "US", len(words)), (0x11, "US", words.shape[1]), (0x40, "CS", "G"), (0x50, "SS", [1, 1]),
        (0x100, "US", 16), (0x102, "US", bit),
    ):  # fmt: skip
        dataset.add_new((0x6000, element), kind, value)
    if compressed == RLELossless:
        dataset.compress(RLELossless, generate_instance_uid=False)
    elif compressed:
        dataset.file_meta.TransferSyntaxUID = compressed
        dataset.PixelData = encapsulate([imagecodecs.jpeg2k_encode(words.view(np.uint16), level=0, reversible=True)])
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.parametrize("compressed", ["", RLELossless, JPEG2000Lossless])
@pytest.mark.parametrize(("kind", "low"), [("uint16", 0), ("int16", 0), ("uint16", 4), ("int16", 3)])
def test_an_overlay_in_spare_bits_is_no_brightness_and_stays(kind: str, low: int, compressed: str) -> None:
    signed = kind == "int16"
    samples = files.noise((16, 16), "uint16") % 3000
    samples = (samples.astype(np.int32) - 1500 * signed).astype(kind)
    overlay = np.zeros((16, 16), np.uint16)
    overlay[4:9, 3:12] = 1
    bit = 12 if low == 0 else 0
    words = ((samples.view(np.uint16) & 0xFFF) << low | overlay << bit).view(kind)
    data = with_overlay(words, bit, compressed, BitsStored=12, HighBit=11 + low, PixelRepresentation=int(signed))
    decoded = decode_here(data)
    assert decoded.significant_bits == 12
    np.testing.assert_array_equal(decoded.restore(decoded.pixels)[0, ..., 0], samples)
    np.testing.assert_array_equal(words_of(encode(decoded, decoded.pixels).data), words)
    result = words_of(brighter(decoded, 5)).view(np.uint16)
    field = BitField(low, 12, np.dtype(kind))
    np.testing.assert_array_equal(field.samples(result), samples + 5)
    np.testing.assert_array_equal(result >> bit & 1, overlay)


def test_a_crop_has_no_overlay_of_the_whole() -> None:
    words = files.noise((16, 16), "uint16") % 3000 | 1 << 12
    decoded = crop(decode_here(with_overlay(words, BitsStored=12, HighBit=11)), 2, 3, 5, 4)
    result = encode(decoded, decoded.pixels).data
    np.testing.assert_array_equal(words_of(result), words[3:7, 2:7] & 0xFFF)
    assert (0x6000, 0x102) not in pydicom.dcmread(io.BytesIO(result))


def test_samples_that_outgrow_their_stated_bits_are_kept_and_marks_in_them_are_not() -> None:
    ramp = np.linspace(3900, 4300, 64).astype(np.uint16)[None].repeat(8, axis=0)
    large = decode_here(files.dicom(ramp, BitsStored=12, HighBit=11))
    assert large.significant_bits is None and "larger than the 12 bits" in large.warnings[0]
    np.testing.assert_array_equal(words_of(brighter(large, 100)), ramp + 100)
    marked = np.full((8, 64), 1000, np.uint16)
    marked[2:5, 10:20] |= 1 << 13  # no overlay is declared, yet nobody's brightness jumps so
    decoded = decode_here(files.dicom(marked, BitsStored=12, HighBit=11))
    assert np.all(decoded.pixels == 1000)
    np.testing.assert_array_equal(words_of(encode(decoded, decoded.pixels).data), marked)


def test_padding_that_needs_more_bits_than_the_samples_stays() -> None:
    words = np.full((8, 8), 500, np.uint16)
    words[:2] = 63536
    data = files.dicom(words, BitsStored=12, HighBit=11, PixelPaddingValue=63536)
    decoded = decode_here(data)
    assert np.all(decoded.pixels == 500)
    result = words_of(brighter(decoded, 9))
    assert np.all(result[:2] == 63536) and np.all(result[2:] == 509)


def test_uncompressed_ycbcr_is_converted_once() -> None:
    picture = files.smooth()
    data = files.dicom(convert_color_space(picture, "RGB", "YBR_FULL"), PhotometricInterpretation="YBR_FULL")
    assert np.abs(decode_here(data).pixels[0].astype(int) - picture).max() <= 2


@pytest.mark.parametrize(
    ("attributes", "units"),
    [
        ({"RescaleSlope": 1, "RescaleIntercept": -1024, "Modality": "CT"}, Units(1, -1024, "HU")),
        ({"RescaleSlope": 0.5, "RescaleIntercept": 3, "RescaleType": "US"}, Units(0.5, 3)),
        ({"RescaleSlope": 2, "RescaleIntercept": 0, "Units": "BQML", "Modality": "PT"}, Units(2, 0, "BQML")),
        ({"RescaleSlope": 0, "RescaleIntercept": 7}, STORED),
        ({"RescaleSlope": 2, "RescaleIntercept": 0, "PhotometricInterpretation": "MONOCHROME1"}, STORED),
        ({}, STORED),
    ],
)
def test_units_of_a_dicom_file(attributes: dict[str, Any], units: Units) -> None:
    assert decode_here(files.dicom(files.noise((8, 8), "uint16"), **attributes)).units == units


def framed(*slopes: float) -> bytes:
    groups = []
    for slope in slopes:
        item, group = pydicom.Dataset(), pydicom.Dataset()
        item.RescaleSlope, item.RescaleIntercept, item.RescaleType = slope, 0, "BQML"
        group.PixelValueTransformationSequence = Sequence([item])
        groups.append(group)
    pages = files.noise((len(slopes), 8, 8), "uint16")
    return files.dicom(pages, PerFrameFunctionalGroupsSequence=Sequence(groups))


def test_frames_with_slopes_of_their_own_are_told_as_stored() -> None:
    assert decode_here(framed(0.5, 0.5)).units == Units(0.5, 0, "BQML")
    decoded = decode_here(framed(0.5, 0.25))
    assert decoded.units == STORED and "slopes of their own" in decoded.warnings[0]


def test_a_tiff_of_a_dicom_has_no_foreign_bits() -> None:
    words = files.noise((16, 16), "uint16") % 3000 | 1 << 12
    decoded = decode_here(with_overlay(words, BitsStored=12, HighBit=11))
    tiff = tifffile.imread(io.BytesIO(encode(decoded, decoded.pixels, "tiff").data))
    np.testing.assert_array_equal(tiff, words & 0xFFF)
