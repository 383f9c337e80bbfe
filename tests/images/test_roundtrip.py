"""At strength 0 nothing changes: what goes through decode and encode comes back bit-exact in every lossless format.

The files are written, and the results read, by other programs' code (Pillow, tifffile, NumPy, pydicom, rawpy).
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pydicom
import pytest
import rawpy
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from images.decode import Decoded, decode_here
from images.encode import encode
from tests.harness import files

sides = st.integers(1, 40)
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=25, deadline=None)


def trip(data: bytes, **options: Any) -> tuple[Decoded, bytes]:
    """The decoded image and the file made of its untouched pixels."""
    decoded = decode_here(data)
    assert decoded.pixels.dtype.name in ("uint8", "uint16", "float32")
    assert decoded.pixels.ndim == 4
    return decoded, encode(decoded, decoded.pixels, **options).data


def whole(decoded: Decoded) -> np.ndarray[Any, Any]:
    """Pixels in the file's own type, alpha behind the colours."""
    stored = decoded.restore(decoded.pixels)
    return stored if decoded.alpha is None else np.concatenate([stored, decoded.alpha[..., None]], axis=3)


@few
@given(sides, sides, st.integers(1, 4), st.sampled_from(["uint8", "uint16"]), seeds)
def test_png(height: int, width: int, samples: int, dtype: str, seed: int) -> None:
    pixels = files.noise((height, width, samples), dtype, seed)
    decoded, data = trip(files.png(pixels))
    np.testing.assert_array_equal(whole(decoded)[0], pixels)
    np.testing.assert_array_equal(whole(decode_here(data))[0], pixels)
    image = Image.open(io.BytesIO(data))
    image.load()
    if dtype == "uint8" or samples == 1:
        np.testing.assert_array_equal(np.asarray(image).reshape(pixels.shape), pixels)


@few
@given(
    st.integers(1, 5), sides, sides, st.integers(1, 6),
    st.sampled_from(["uint8", "uint16", "uint32", "int8", "int16", "int32", "float16", "float32", "float64"]),
    st.sampled_from([None, "lzw", "zlib", "zstd", "packbits"]), st.booleans(), st.booleans(),
    st.sampled_from("<>"), st.booleans(), seeds,
)  # fmt: skip
def test_tiff(
    frames: int, height: int, width: int, samples: int, dtype: str, compression: str | None, predictor: bool,
    tiled: bool, order: str, big: bool, seed: int,
) -> None:  # fmt: skip
    pixels = files.noise((frames, height, width, samples), dtype, seed)
    separate = samples > 1 and seed % 2 == 0
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, bigtiff=big, byteorder=order) as writer:
        for page in pixels:
            writer.write(
                (np.moveaxis(page, 2, 0) if separate else page) if samples > 1 else page[..., 0],
                photometric="minisblack", planarconfig=("separate" if separate else "contig") if samples > 1 else None,
                compression=compression, predictor=predictor and compression in ("lzw", "zlib", "zstd"),
                tile=(16, 32) if tiled else None, metadata=None, extrasamples=[0] * (samples - 1) or None,
            )  # fmt: skip
    decoded, data = trip(buffer.getvalue())
    np.testing.assert_array_equal(whole(decoded), pixels)
    with tifffile.TiffFile(io.BytesIO(data)) as result:
        assert (len(result.pages), result.is_bigtiff, result.byteorder) == (frames, big, order)
        for page, expected in zip(result.pages, pixels, strict=True):
            found = page.asarray()
            found = np.moveaxis(found, 0, 2) if separate else found
            np.testing.assert_array_equal(found.reshape(expected.shape), expected)
            assert page.dtype == np.dtype(dtype)
            first = result.pages[0]
            assert isinstance(first, tifffile.TiffPage)
            assert (first.is_tiled, first.compression != 1) == (tiled, compression is not None)


@few
@given(sides, sides, st.sampled_from([3, 4]), seeds)
def test_webp_lossless(height: int, width: int, samples: int, seed: int) -> None:
    pixels = files.noise((height, width, samples), seed=seed)
    decoded, data = trip(files.pillow(pixels, "WEBP", lossless=True, exact=True))
    np.testing.assert_array_equal(whole(decoded)[0], pixels)
    np.testing.assert_array_equal(whole(decode_here(data))[0], pixels)


@few
@given(sides, sides, st.sampled_from([1, 3]), seeds)
def test_bmp(height: int, width: int, samples: int, seed: int) -> None:
    pixels = files.noise((height, width, samples), seed=seed)
    decoded, data = trip(files.pillow(pixels, "BMP"))
    np.testing.assert_array_equal(decoded.pixels[0], pixels)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))).reshape(pixels.shape), pixels)


@few
@given(
    st.sampled_from([(9, 8), (9, 8, 3), (5, 9, 8), (2, 9, 8, 5)]),
    st.sampled_from(["uint8", "uint16", "uint32", "int8", "int16", "int32", "float16", "float32", "float64"]),
    st.sampled_from("<>"), st.booleans(), seeds,
)  # fmt: skip
def test_npy_byte_for_byte(shape: tuple[int, ...], dtype: str, order: str, fortran: bool, seed: int) -> None:
    array = files.noise(shape, dtype, seed).astype(np.dtype(dtype).newbyteorder(order))
    data = files.npy(np.asfortranarray(array) if fortran else array)
    assert trip(data)[1] == data


@few
@given(st.sampled_from([(9, 8), (5, 9, 8)]), st.sampled_from(sorted(files.FITS_BITPIX)), seeds)
def test_fits_byte_for_byte(shape: tuple[int, ...], dtype: str, seed: int) -> None:
    pixels = files.noise(shape, dtype, seed)
    if dtype == "int64":
        pixels >>= 32  # to what float32 has room for
    data = files.fits(pixels, "OBJECT  = 'M31     '", "BZERO   =                32768")
    assert trip(data)[1] == data


@few
@given(
    st.sampled_from([(9, 7), (9, 7, 3), (4, 9, 7)]), st.sampled_from(["uint8", "uint16", "int16"]), st.booleans(), seeds
)
def test_dicom(shape: tuple[int, ...], dtype: str, inverse: bool, seed: int) -> None:
    colour = shape == (9, 7, 3)
    pixels = files.noise(shape, "uint8" if colour else dtype, seed)
    attributes = {"PhotometricInterpretation": "MONOCHROME1"} if inverse and not colour else {}
    data = files.dicom(pixels, PatientName="Ada^Lovelace", WindowCenter="40", **attributes)
    _, result = trip(data)
    dataset = pydicom.dcmread(io.BytesIO(result))
    np.testing.assert_array_equal(dataset.pixel_array, pixels)
    assert (dataset.PatientName, dataset.WindowCenter) == ("Ada^Lovelace", 40)
    assert dataset.SOPInstanceUID == dataset.file_meta.MediaStorageSOPInstanceUID != "1.2.826.0.1.3680043.8.498.1"
    assert dataset.ImageType[0] == "DERIVED"


@pytest.mark.parametrize("shape", [(64, 96), (65, 97)])
def test_dng_opens_in_a_raw_developer(shape: tuple[int, int]) -> None:
    mosaic = 256 + files.noise(shape, "uint16") % 16000
    decoded, data = trip(files.dng(mosaic), note="denoised by the Blind2Sound service, model base-gray")
    assert decoded.pixels.shape == (1, (shape[0] + 1) // 2, (shape[1] + 1) // 2, 4)
    np.testing.assert_array_equal(decoded.pixels[0, :, :, 0], mosaic[::2, ::2])
    with rawpy.imread(io.BytesIO(data)) as result, rawpy.imread(io.BytesIO(files.dng(mosaic))) as source:
        np.testing.assert_array_equal(result.raw_image, mosaic)
        assert result.black_level_per_channel == source.black_level_per_channel == [256] * 4
        assert result.sizes.flip == source.sizes.flip == 6
        np.testing.assert_array_equal(result.postprocess(), source.postprocess())


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_shallow_png_is_widened_and_says_so(depth: int) -> None:
    values = files.noise((11, 13)) & ((1 << depth) - 1)
    decoded, data = trip(files.png_bits(values, depth))
    np.testing.assert_array_equal(decoded.pixels[0, :, :, 0], values * (255 // ((1 << depth) - 1)))
    assert f"{depth} bit" in decoded.warnings[0]
    assert Image.open(io.BytesIO(data)).mode == "L"


def test_palette_with_transparency_becomes_rgba() -> None:
    palette, alpha = files.noise((16, 3)), files.noise((16,), seed=1)
    values = files.noise((11, 13)) & 15
    decoded, data = trip(files.png_bits(values, 4, palette.tobytes(), alpha.tobytes()))
    assert "palette" in decoded.warnings[0]
    expected = np.concatenate([palette[values], alpha[values][..., None]], axis=2)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), expected)


def test_transparent_colour_becomes_alpha() -> None:
    pixels = files.noise((9, 9, 1), "uint16")
    pixels[2, 3] = 777
    decoded, _ = trip(files.png(pixels, (b"tRNS", (777).to_bytes(2, "big"))))
    assert decoded.alpha is not None
    assert (decoded.alpha[0] == 0).sum() == (pixels == 777).sum()


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
def test_animations_keep_their_frames_and_timing(kind: str) -> None:
    frames = [Image.fromarray(files.smooth(20, 24) + np.uint8(40 * n)) for n in range(4)]
    buffer = io.BytesIO()
    options = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], duration=[50, 70, 90, 110], loop=3, **options)
    decoded, data = trip(buffer.getvalue())
    assert decoded.pixels.shape == (4, 20, 24, 3)
    result = Image.open(io.BytesIO(data))
    assert (result.n_frames, result.info["loop"]) == (4, 3)
    durations = []
    for index in range(4):
        result.seek(index)
        np.testing.assert_array_equal(np.asarray(result.convert("RGB")), decoded.pixels[index])
        durations.append(result.info["duration"])
    assert durations == [50, 70, 90, 110]


def test_hidden_first_image_of_an_animation_stays_hidden() -> None:
    frames = [Image.fromarray(files.smooth(20, 24) + np.uint8(40 * n)) for n in range(3)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "PNG", save_all=True, default_image=True, append_images=frames[1:])
    decoded, data = trip(buffer.getvalue())
    assert decoded.pixels.shape[0] == 3
    result = Image.open(io.BytesIO(data))
    assert result.info["default_image"]
    np.testing.assert_array_equal(np.asarray(result), decoded.pixels[0])


def test_white_is_zero_is_denoised_as_light_and_stored_as_it_was() -> None:
    pixels = files.noise((9, 8), "uint16")
    decoded, data = trip(files.tiff(pixels, photometric="miniswhite"))
    np.testing.assert_array_equal(decoded.pixels[0, :, :, 0], 65535 - pixels)
    with tifffile.TiffFile(io.BytesIO(data)) as result:
        np.testing.assert_array_equal(result.pages[0].asarray(), pixels)
        assert result.pages[0].tags["PhotometricInterpretation"].value == 0


def test_samples_that_are_no_numbers_come_back() -> None:
    pixels = files.noise((9, 8), "float32")
    pixels[1, 2], pixels[3, 4] = np.nan, np.inf
    decoded = decode_here(files.tiff(pixels))
    assert np.isfinite(decoded.pixels).all()
    assert "not finite" in decoded.warnings[0]
    changed = encode(decoded, decoded.pixels + np.float32(1)).data
    result = tifffile.imread(io.BytesIO(changed))
    assert np.isnan(result[1, 2]) and np.isinf(result[3, 4])
    assert result[0, 0] == pixels[0, 0] + np.float32(1)


def test_wide_integers_are_exact_where_nothing_changed() -> None:
    pixels = files.noise((9, 8), "uint32")
    decoded = decode_here(files.tiff(pixels))
    after = decoded.pixels.copy()
    after[0, 0, 0, 0] = 5.0
    result = tifffile.imread(io.BytesIO(encode(decoded, after).data))
    assert result[0, 0] == 5
    np.testing.assert_array_equal(result.reshape(-1)[1:], pixels.reshape(-1)[1:])


def test_a_stack_without_pages_as_imagej_writes_over_4_gb() -> None:
    stack = files.noise((6, 9, 8), "uint16")
    first = files.tiff(stack[0], byteorder=">", metadata=None, description="ImageJ=1.54f\nimages=6\nslices=6\n")
    with tifffile.TiffFile(io.BytesIO(first)) as file:
        place = file.pages[0].dataoffsets[0]
    data = first[:place] + stack.astype(">u2").tobytes()
    decoded, result = trip(data)
    np.testing.assert_array_equal(decoded.pixels[..., 0], stack)
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(result)).reshape(stack.shape), stack)


@pytest.mark.parametrize(
    ("pixels", "target", "words"),
    [
        (files.noise((8, 8, 3), "uint16"), "jpeg", "uint16"),
        (files.noise((8, 8, 4)), "jpeg", "transparency"),
        (files.noise((8, 8, 1)), "webp", "1 channels"),
        (files.noise((8, 8, 3)), "gif", "cannot be written"),
        (files.noise((8, 8, 3)), "dicom", "DICOM"),
    ],
)
def test_nothing_is_lost_without_a_word(pixels: files.Array, target: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        trip(files.png(pixels), output_format=target)


@pytest.mark.parametrize("target", ["png", "tiff", "webp", "bmp"])
def test_other_lossless_formats_hold_the_same_pixels(target: str) -> None:
    pixels = files.noise((20, 30, 4))
    _, data = trip(files.png(pixels), output_format=target)
    np.testing.assert_array_equal(whole(decode_here(data))[0], pixels)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_planes_of_unknown_meaning_are_no_colours_in_a_tiff(channels: int) -> None:
    pixels = files.noise((9, 8, channels), "uint16")
    _, data = trip(files.npy(pixels), output_format="tiff")
    with tifffile.TiffFile(io.BytesIO(data)) as result:
        page = result.pages[0].aspage()
        assert (page.photometric, page.extrasamples) == (tifffile.PHOTOMETRIC.MINISBLACK, (0,) * (channels - 1))
        np.testing.assert_array_equal(page.asarray(), pixels)
    np.testing.assert_array_equal(whole(decode_here(data))[0], pixels)


def test_a_mosaic_s_planes_are_no_inks_in_a_tiff() -> None:
    _, data = trip(files.dng(256 + files.noise((64, 96), "uint16") % 16000), output_format="tiff")
    with tifffile.TiffFile(io.BytesIO(data)) as result:
        assert result.pages[0].aspage().photometric == tifffile.PHOTOMETRIC.MINISBLACK


@pytest.mark.parametrize(
    ("pixels", "target", "name"), [(files.smooth(), "JPEG", "RGB"), (files.smooth(channels=4), "JPEG", "SEPARATED")]
)
def test_colours_that_the_source_names_stay_colours_in_a_tiff(pixels: files.Array, target: str, name: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(pixels, "RGB" if name == "RGB" else "CMYK").save(buffer, target)
    _, data = trip(buffer.getvalue(), output_format="tiff")
    with tifffile.TiffFile(io.BytesIO(data)) as result:
        assert result.pages[0].aspage().photometric == tifffile.PHOTOMETRIC[name]
