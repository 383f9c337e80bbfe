"""Camera raw that is not DNG: read on its mosaic, written as a DNG that LibRaw opens to the same pixels and look.

The files are made here as cameras with uncompressed raw write them; which real ones were tried, docs/formats.md says.
"""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import rawpy
import tifffile

from images.decode import decode_here
from images.encode import encode
from images.errors import BrokenImage, ImageError, ImageTooLarge, UnsupportedFormat
from images.info import ImageInfo
from images.limits import Limits
from images.note import compose
from images.probe import probe
from images.sandbox import Sandbox
from tests.harness import files

PATTERNS = {"rggb": b"\0\1\1\2", "bggr": b"\2\1\1\0", "grbg": b"\1\0\2\1", "gbrg": b"\1\2\0\1"}


@pytest.fixture
def box() -> Iterator[Sandbox]:
    made = Sandbox()
    yield made
    made.close()


def photo(height: int = 64, width: int = 96) -> files.Array:
    """A mosaic of 14 bit with a light part and a dark part."""
    return (files.noise((height, width), "uint16") >> 3) + np.linspace(0, 8000, width).astype(np.uint16)


def opened(data: bytes) -> Any:
    return rawpy.imread(io.BytesIO(data))


def raf(*tags: tuple[int, bytes]) -> bytes:
    """The head of a Fuji raw file."""
    body = struct.pack(">I", len(tags)) + b"".join(struct.pack(">HH", tag, len(data)) + data for tag, data in tags)
    head = b"FUJIFILMCCD-RAW 0201" + bytes(64) + struct.pack(">4I", 0, 0, 108, len(body)) + bytes(8)
    return head + body + bytes(400)


def box_of(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def cr3(*sizes: tuple[int, int]) -> bytes:
    """The boxes of a Canon raw file that give its tracks' sizes."""
    moov = b""
    for width, height in sizes:
        entry = box_of(b"CRAW", bytes(24), struct.pack(">HH", width, height), bytes(60))
        inner = box_of(b"stsd", bytes(4), struct.pack(">I", 1), entry)
        for kind in (b"stbl", b"minf", b"mdia", b"trak"):
            inner = box_of(kind, inner)
        moov += inner
    return box_of(b"ftyp", b"crx \0\0\0\1crx isom") + box_of(b"moov", moov) + bytes(100)


def cr2(parts: int = 2) -> bytes:
    """A chain of four directories, the last with a lossless JPEG of 1000 x 700 samples in `parts` columns."""
    data = bytearray(b"II*\0" + struct.pack("<I", 16) + b"CR\2\0" + bytes(4))
    for index in range(4):
        following = len(data) + 18 if index < 3 else 0
        data += struct.pack("<HHHIII", 1, 273, 4, 1, 16 + 4 * 18, following)
    frame = struct.pack(">BHHB", 14, 700, 1000 // parts, parts) + bytes(3 * parts)
    return bytes(data) + b"\xff\xd8\xff\xc4\0\4ab\xff\xc3" + struct.pack(">H", 2 + len(frame)) + frame + bytes(200)


KNOWN = {
    "tiff-like": (files.camera_raw(photo()), 96, 64),
    "cr2": (cr2(), 1000, 700),
    "cr3": (cr3((160, 120), (6288, 4056), (1624, 1080)), 6288, 4056),
    "raf": (raf((0x0100, struct.pack(">HH", 1444, 4352))), 4352, 1444),
    "rw2": (b"IIU\0\x08\0\0\0" + struct.pack("<HHHIIHHIII", 2, 2, 3, 1, 3724, 3, 3, 1, 2754, 0) + bytes(99),
            3724, 2754),
    "orf": (files.tiff(photo()).replace(b"II*\0", b"IIRO", 1), 96, 64),
    "mrw": (b"\0MRM" + struct.pack(">I", 24) + struct.pack(">4sI8sHHHH", b"\0PRD", 16, b"27820001", 2456, 3272, 0, 0)
            + bytes(99), 3272, 2456),
}  # fmt: skip


@pytest.mark.parametrize("kind", KNOWN)
def test_the_sensor_s_size_is_in_the_header(kind: str) -> None:
    data, width, height = KNOWN[kind]
    assert probe(data) == ImageInfo("raw", width, height, 1, "uint16", bits=16)
    with pytest.raises(ImageTooLarge, match="limit"):
        probe(data, Limits(max_pixels=width * height - 1))


@pytest.mark.parametrize("kind", KNOWN)
def test_cut_off_anywhere_it_is_refused_with_words(kind: str) -> None:
    data = KNOWN[kind][0]
    for size in range(16, min(len(data), 400), 5):
        try:
            assert probe(data[:size]).width > 0
        except ImageError as error:
            assert str(error)[0].isupper()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (raf((0x0100, struct.pack(">HH", 3000, 4000)), (0x0131, bytes(36))), "X-Trans"),
        (cr2(parts=3), "sRAW"),
        (b"FOVb" + bytes(300), "DNG Converter"),
        (b"II\x1a\0\0\0HEAPCCDR" + bytes(300), "DNG Converter"),
    ],
    ids=["x-trans", "sraw", "x3f", "crw"],
)
def test_what_is_no_bayer_mosaic_is_refused_from_its_header(data: bytes, words: str) -> None:
    with pytest.raises(UnsupportedFormat, match=words):
        probe(data)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_dng_of_the_same_mosaic_comes_back(pattern: str, order: str) -> None:
    mosaic = photo(65, 97)  # odd sides: the last row and column have no partner
    data = files.camera_raw(mosaic, PATTERNS[pattern], order=order)
    decoded = decode_here(data)
    assert (decoded.pixels.shape, decoded.pixels.dtype) == ((1, 33, 49, 4), np.uint16)
    result = encode(decoded, decoded.pixels, note=compose("m"))
    assert (result.media_type, result.extension) == ("image/x-adobe-dng", ".dng")
    with opened(data) as before, opened(result.data) as after:
        np.testing.assert_array_equal(after.raw_image_visible, mosaic)
        np.testing.assert_array_equal(after.raw_colors_visible, before.raw_colors_visible)
        assert after.sizes == before.sizes
        assert after.sizes.flip == 6
        assert after.white_level == before.white_level
        assert after.black_level_per_channel == before.black_level_per_channel
        np.testing.assert_allclose(after.rgb_xyz_matrix, before.rgb_xyz_matrix, atol=1e-4)
    again = decode_here(result.data)
    assert again.info.format == "dng"
    assert again.denoised_before == compose("m")
    np.testing.assert_array_equal(again.pixels, decoded.pixels)


def test_planes_are_one_colour_each() -> None:
    mosaic = np.tile(np.array([[100, 200], [300, 400]], np.uint16), (32, 48))
    decoded = decode_here(files.camera_raw(mosaic))
    for index in range(4):
        assert np.all(decoded.pixels[..., index] == 100 * (index + 1))


def test_it_develops_to_the_same_picture() -> None:
    data = files.camera_raw(photo(128, 192))
    decoded = decode_here(data)
    with opened(data) as before, opened(encode(decoded, decoded.pixels).data) as after:
        left, right = (
            raw.postprocess(user_wb=[2.0, 1.0, 1.5, 1.0], no_auto_bright=True).astype(int) for raw in (before, after)
        )
    assert left.shape == right.shape == (192, 128, 3)  # turned, as the camera was
    assert 20 < left.mean() < 235
    assert np.abs(left - right).max() <= 1


def test_exif_goes_along_and_the_maker_s_notes_do_not() -> None:
    decoded = decode_here(files.camera_raw(photo()))
    assert "private notes" in decoded.warnings[0]
    data = encode(decoded, decoded.pixels).data
    assert b"maker's private note" not in data
    with tifffile.TiffFile(io.BytesIO(data)) as result:
        tags = result.pages[0].tags  # type: ignore[union-attr]
        assert (tags["Make"].value, tags["Model"].value) == ("SONY", "DSLR-A900")
        assert tags["UniqueCameraModel"].value == "SONY DSLR-A900"
        assert tags["ExifTag"].value["ISOSpeedRatings"] == 800


def test_colours_that_nobody_knows_are_said_to_be_a_guess() -> None:
    assert len(decode_here(files.camera_raw(photo())).warnings) == 1
    assert "guess" in decode_here(files.camera_raw(photo(), model="NO-SUCH-1")).warnings[1]


@pytest.mark.parametrize("pattern", [b"\0\0\1\2", b"\0\1\1\1"])
def test_other_mosaics_are_refused(pattern: bytes) -> None:
    with pytest.raises(ImageError):
        decode_here(files.camera_raw(photo(), pattern))


def test_a_header_that_names_another_size_is_caught() -> None:
    good = files.camera_raw(photo(200, 300))
    width = good.index(struct.pack("<HHII", 256, 4, 1, 300))
    rows = good.index(struct.pack("<HHII", 257, 4, 1, 200))
    for place, value in ((width, 3_000), (rows, 60_000)):
        data = bytearray(good)
        struct.pack_into("<I", data, place + 8, value)
        with pytest.raises(BrokenImage):
            decode_here(bytes(data))


def test_damage_costs_the_file_an_error_and_nothing_else(box: Sandbox) -> None:
    good = files.camera_raw(photo())
    random.seed(5)
    ends = {"image": 0, "error": 0}
    for _ in range(150):
        data = bytearray(good)
        for _ in range(random.randint(1, 4)):
            place = random.choice([random.randrange(400), random.randrange(len(data))])
            data[place] = random.randrange(256)
        try:
            decoded = box.decode(bytes(data), Limits(max_pixels=1 << 22))
            encode(decoded, decoded.pixels)
            ends["image"] += 1
        except ImageError as error:
            assert str(error)[0].isupper()
            ends["error"] += 1
    assert min(ends.values()) > 0
    assert box.decode(good, Limits()).pixels.shape == (1, 64, 96, 1)
