"""Results stay within a file's significant bits; samples that it declares to hold no data come back as they were."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pydicom
import pytest
import tifffile

from images import samples
from images.decode import Decoded, decode, decode_here
from images.encode import encode
from images.errors import UnsupportedFormat
from tests.harness import files

TWELVE = {"BitsStored": 12, "HighBit": 11}


def brighter(decoded: Decoded, by: int = 100) -> bytes:
    """The file of a result in which every sample rose by `by`, as far as its working type goes."""
    pixels = decoded.pixels
    if pixels.dtype.kind == "f":
        return encode(decoded, pixels + np.float32(by)).data
    limit = np.iinfo(pixels.dtype).max
    return encode(decoded, np.minimum(pixels.astype(np.int64) + by, limit).astype(pixels.dtype)).data


def stored(data: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(pydicom.dcmread(io.BytesIO(data)).pixel_array)


def twelve_bit(values: np.ndarray[Any, Any], photometric: int) -> bytes:
    """A TIFF of (H, W) values with 12 bits a sample, packed, which tifffile does not write."""
    rows = (((values[..., None] >> np.arange(11, -1, -1)) & 1).reshape(len(values), -1)).astype(np.uint8)
    packed = np.packbits(rows, axis=1).tobytes()
    source = files.tiff(np.frombuffer(packed, np.uint8).reshape(len(values), -1), metadata=None)
    with tifffile.TiffFile(io.BytesIO(source)) as file:
        tags = file.pages[0].aspage().tags
        places = {code: tags[code].valueoffset for code in (256, 258, 262)}
    edited = bytearray(source)
    for code, value in {256: values.shape[1], 258: 12, 262: photometric}.items():
        edited[places[code] : places[code] + 2] = value.to_bytes(2, "little")
    return bytes(edited)


@pytest.mark.parametrize("interpretation", ["MONOCHROME2", "MONOCHROME1"])
def test_a_12_bit_dicom_stays_one(interpretation: str) -> None:
    pixels = np.array([[0, 50, 4000, 4095]], np.uint16)
    decoded = decode_here(files.dicom(pixels, PhotometricInterpretation=interpretation, **TWELVE))
    assert decoded.top == 4095
    result = stored(brighter(decoded))
    expected = [[100, 150, 4095, 4095]] if interpretation == "MONOCHROME2" else [[0, 0, 3900, 3995]]
    np.testing.assert_array_equal(result, expected)


def test_8_bits_stored_in_16_are_turned_within_8() -> None:
    pixels = np.array([[0, 50, 200, 255]], np.uint16)
    data = files.dicom(pixels, PhotometricInterpretation="MONOCHROME1", BitsStored=8, HighBit=7)
    decoded = decode_here(data)
    np.testing.assert_array_equal(decoded.pixels[0, ..., 0], 255 - pixels)
    np.testing.assert_array_equal(stored(brighter(decoded)), [[0, 0, 100, 155]])


def test_signed_bits_are_kept_on_both_ends() -> None:
    pixels = np.array([[-2048, -1000, 0, 2047]], np.int16)
    decoded = decode_here(files.dicom(pixels, **TWELVE))
    assert decoded.top == 32768 + 2047
    np.testing.assert_array_equal(stored(brighter(decoded, 200)), [[-1848, -800, 200, 2047]])
    np.testing.assert_array_equal(stored(brighter(decoded, -200)), [[-2048, -1200, -200, 1847]])


def test_what_was_over_its_bits_and_is_left_alone_stays() -> None:
    before = np.array([5, 5000, 5000], np.uint16)
    after = np.array([5, 5000, 5001], np.uint16)
    np.testing.assert_array_equal(samples.from_working(after, before.dtype, before, None, 12), [5, 5000, 4095])


@pytest.mark.parametrize("photometric", [0, 1])
def test_a_12_bit_tiff_stays_one(photometric: int) -> None:
    values = np.array([[0, 50, 4000, 4095]] * 2, np.uint16)
    decoded = decode(twelve_bit(values, photometric))  # through the helper, which must tell the bits too
    assert decoded.top == 4095
    np.testing.assert_array_equal(decoded.pixels[0, ..., 0], values if photometric else 4095 - values)
    result = tifffile.imread(io.BytesIO(brighter(decoded)))
    np.testing.assert_array_equal(result[0], [100, 150, 4095, 4095] if photometric else [0, 0, 3900, 3995])


@pytest.mark.parametrize(
    ("dtype", "bits", "top"),
    [("uint8", None, 255), ("uint16", 12, 4095), ("int8", None, 255), ("int16", 12, 34815), ("uint32", None, 2.0**32)],
)
def test_the_greatest_sample_as_the_model_sees_it(dtype: str, bits: int | None, top: float) -> None:
    greatest = np.array([samples.bounds(np.dtype(dtype), bits)], dtype)[0, 1:]
    assert samples.top(np.dtype(dtype), bits) == samples.to_working(greatest)[0][0] == top
    assert samples.top(np.dtype("float32"), None) is None


def check_kept(data: bytes, hole: tuple[slice, slice], read: Any) -> None:
    """The hole has no part in what the model sees, and is in the result as it was."""
    decoded = decode(data)
    before = read(data)
    seen, image = decoded.pixels[0, ..., 0], np.ones(before.shape, bool)
    image[hole] = False
    assert seen[image].min() <= seen[hole].min() and seen[hole].max() <= seen[image].max()
    assert "hold no data" in decoded.warnings[0] and f"{(~image).sum()} samples" in decoded.warnings[0]
    after = read(brighter(decoded, 1000))
    np.testing.assert_array_equal(after[hole], before[hole])
    assert (after[image] != before[image]).all()
    np.testing.assert_array_equal(read(encode(decoded, decoded.pixels).data), before)


HOLE = (slice(2, 5), slice(1, 4))


def with_hole(dtype: str, value: float, low: int = 400, high: int = 600) -> np.ndarray[Any, Any]:
    pixels = np.random.default_rng(0).integers(low, high, (9, 8)).astype(dtype)
    pixels[HOLE] = value
    return pixels


@pytest.mark.parametrize(("dtype", "blank"), [("int16", -32768), ("uint8", 0), ("int32", -(2**31))])
def test_fits_blank_pixels(dtype: str, blank: int) -> None:
    pixels = with_hole(dtype, blank, 40, 60)

    def read(data: bytes) -> np.ndarray[Any, Any]:
        kind = pixels.dtype.newbyteorder(">")
        return np.frombuffer(data[-2880:], kind, pixels.size).reshape(pixels.shape)

    check_kept(files.fits(pixels, f"BLANK   = {blank:>20}"), HOLE, read)


@pytest.mark.parametrize("declared", [-2000, 63536])
@pytest.mark.parametrize("interpretation", ["MONOCHROME2", "MONOCHROME1"])
def test_dicom_padding(interpretation: str, declared: int) -> None:
    attributes = {"PhotometricInterpretation": interpretation}
    data = files.dicom(with_hole("int16", -2000), **attributes)
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.add_new("PixelPaddingValue", "SS" if declared < 0 else "US", declared)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    check_kept(buffer.getvalue(), HOLE, stored)


@pytest.mark.parametrize("interpretation", ["MONOCHROME2", "MONOCHROME1"])
def test_a_range_of_dicom_padding(interpretation: str) -> None:
    pixels = with_hole("uint16", 10)
    pixels[2, 1:4] = 7, 8, 12
    attributes = {"PixelPaddingValue": 12, "PixelPaddingRangeLimit": 7, **TWELVE}
    check_kept(files.dicom(pixels, PhotometricInterpretation=interpretation, **attributes), HOLE, stored)


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize(
    ("dtype", "text"),
    [("float32", "-9999"), ("float32", "-3.40282346600000016e+38"), ("int16", "-32768"), ("uint16", "65535"),
     ("uint8", "0"), ("float64", "1e-5"), ("uint32", "4294967295")],
)  # fmt: skip
def test_gdal_no_data(dtype: str, text: str, photometric: str) -> None:
    pixels = with_hole(dtype, float(text), 100, 150)
    tag = (42113, 2, 0, text, False)
    data = files.tiff(pixels, photometric=photometric, metadata=None, extratags=[tag])
    check_kept(data, HOLE, lambda file: tifffile.imread(io.BytesIO(file)))


@pytest.mark.parametrize("text", ["", "none", "nan", "1e999", "300", "0.5"])
def test_a_value_that_no_sample_has_declares_nothing(text: str) -> None:
    data = files.tiff(with_hole("uint8", 0, 100, 150), metadata=None, extratags=[(42113, 2, 0, text + " ", False)])
    assert decode_here(data).exact is None


def test_no_data_in_a_stack_is_filled_page_by_page() -> None:
    pixels = np.stack([with_hole("int16", 0, 400, 500), with_hole("int16", -1, 400, 500)])
    data = files.fits(pixels, "BLANK   =                   -1")
    decoded = decode(data)
    assert decoded.pixels[1].min() >= 32768 + 400
    assert decoded.pixels[0].min() == 32768
    assert encode(decoded, decoded.pixels).data == data


def fits_64(array: Any) -> bytes:
    """As an observatory's writer holds them: unsigned ones with their highest bit turned (standard 4.0, table 11)."""
    if array.dtype == np.int64:
        return files.fits(array)
    return files.fits((array ^ np.uint64(1 << 63)).view(np.int64), f"BZERO   = {1 << 63:>20}")


@pytest.mark.parametrize("write", [files.npy, files.tiff, fits_64])
@pytest.mark.parametrize(("dtype", "mark"), [("int64", 2**63 - 1), ("int64", -(2**63)), ("uint64", 2**64 - 1)])
def test_64_bit_integers_keep_values_type_and_marks(write: Any, dtype: str, mark: int) -> None:
    counts = files.noise((40, 50), "uint32").astype(dtype)  # float32 cannot tell them apart
    counts[3, 4] = mark
    decoded = decode_here(write(counts))
    assert (decoded.info.dtype, decoded.pixels.dtype) == (dtype, np.float32)
    again = decode_here(encode(decoded, decoded.pixels).data)
    assert again.exact is not None and np.array_equal(again.exact[0, :, :, 0], counts)
    risen = decode_here(encode(decoded, np.where(decoded.pixels < 2**32, decoded.pixels + 1024, decoded.pixels)).data)
    assert risen.info.dtype == dtype
    change = risen.pixels[0, :, :, 0].astype(np.float64) - counts
    assert abs(np.delete(change, 3 * 50 + 4) - 1024).max() <= 512  # two steps of float32 at 2^32


def test_a_result_at_the_end_of_64_bits_does_not_turn_over() -> None:
    for dtype in ("int64", "uint64"):
        ends = samples.unconverted(np.array([-1e30, 1e30], np.float32), np.dtype(dtype))
        assert ends[0] == np.iinfo(dtype).min and ends[1] > np.iinfo(dtype).max - 4096


@pytest.mark.parametrize("blank", [2**63 - 1, 2**53 + 1, -(2**63)])
def test_blank_of_64_bit_fits_is_exact(blank: int) -> None:
    counts = files.noise((40, 50), "uint16").astype(np.int64)
    counts[3, 4:8] = blank
    decoded = decode_here(files.fits(counts, f"BLANK   = {blank:>20}"))
    assert "4 samples hold no data" in decoded.warnings[0]
    assert decoded.pixels.max() < 2**16
    risen = decode_here(encode(decoded, decoded.pixels + 8).data)
    assert risen.exact is not None and (risen.exact[0, 3, 4:8, 0] == blank).all()
    assert (risen.exact[0, 4:, :, 0] == counts[4:] + 8).all()


@pytest.mark.parametrize("write", [files.npy, files.tiff, fits_64])
def test_64_bit_integers_beyond_32_are_refused_with_the_way_out(write: Any) -> None:
    with pytest.raises(UnsupportedFormat, match="beyond 32 bit; subtract their offset"):
        decode_here(write(files.noise((40, 50), "uint8").astype("int64") + (1 << 40)))
