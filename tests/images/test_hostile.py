"""Files that lie, loop, explode or stop short: each is refused in a user's words, or comes back an image.

Everything here runs in this process, without the sandbox, so that an unforeseen exception shows as itself.
"""

from __future__ import annotations

import io
import re
import struct
import tracemalloc
import zlib

import imagecodecs
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from images.decode import decode_here
from images.encode import encode
from images.errors import BrokenImage, ImageError, ImageTooLarge, UnsupportedFormat
from images.limits import Limits
from images.lzw import is_sound
from images.probe import probe
from images.source import Source
from tests.harness import files

SMALL = Limits(max_pixels=100_000, max_frames=100, max_decoded_bytes=4_000_000, max_metadata_bytes=100_000)
SEEDS = {
    "png": files.png(files.noise((9, 8, 4), "uint16"), (b"tEXt", b"Comment\0hello")),
    "palette": files.png_bits(files.noise((9, 8)) & 15, 4, bytes(48), b"\0\1"),
    "apng": files.pillow(files.smooth(20, 24), "PNG", save_all=True, append_images=[Image.new("RGB", (24, 20))]),
    "jpeg": files.pillow(files.smooth(), "JPEG", exif=b"Exif\0\0" + files.exif()),
    "progressive": files.pillow(files.smooth(), "JPEG", progressive=True),
    "webp": files.pillow(files.smooth(), "WEBP", lossless=True),
    "lossy": files.pillow(files.smooth(), "WEBP", quality=60),
    "gif": files.pillow(files.smooth(), "GIF"),
    "bmp": files.pillow(files.smooth(), "BMP"),
    "avif": files.pillow(files.smooth(), "AVIF"),
    "tiff": files.tiff(files.noise((3, 9, 8), "uint16"), photometric="minisblack", compression="zlib"),
    "tiles": files.tiff(files.noise((33, 40)), tile=(16, 16), compression="lzw", bigtiff=True),
    "npy": files.npy(files.noise((9, 8), "float32")),
    "fits": files.fits(files.noise((9, 8), "int16")),
    "dicom": files.dicom(files.noise((9, 8), "uint16"), PatientName="A^B"),
}
_INSIDE = re.compile(
    r"Traceback|File \"|/[a-z_]+/[a-z_.]+/|0x[0-9a-f]{6}|Error\(|Exception|numpy|tifffile|imagecodecs|PIL"
)


def survives(data: bytes, limits: Limits = SMALL) -> ImageError | None:
    """Probe, decode and encode; the error if there is one, with words that show nothing from inside."""
    try:
        decoded = decode_here(data, limits)
        encode(decoded, decoded.pixels)
    except ImageError as error:
        assert not _INSIDE.search(str(error)), str(error)
        assert str(error)[0].isupper() and len(str(error)) > 15
        return error
    return None


def peak_memory(data: bytes, limits: Limits) -> int:
    """Bytes that Python and NumPy had at once while `data` was read."""
    tracemalloc.start()
    try:
        survives(data, limits)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", SEEDS)
def test_seeds_are_good(kind: str) -> None:
    assert survives(SEEDS[kind]) is None


@pytest.mark.parametrize("kind", SEEDS)
def test_cut_off_anywhere(kind: str) -> None:
    data = SEEDS[kind]
    for size in sorted({*range(0, min(len(data), 300), 3), *range(0, len(data), max(1, len(data) // 60))}):
        survives(data[:size])
    assert isinstance(survives(data[: len(data) // 2]), ImageError)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(sorted(SEEDS)),
    st.lists(st.tuples(st.integers(0, 1 << 20), st.binary(min_size=1, max_size=6)), min_size=1, max_size=4),
)
def test_bytes_changed_anywhere(kind: str, edits: list[tuple[int, bytes]]) -> None:
    data = bytearray(SEEDS[kind])
    for place, new in edits:
        start = place % len(data)
        data[start : start + len(new)] = new
    survives(bytes(data))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(SEEDS)), st.integers(1, 140), st.binary(max_size=200))
def test_any_bytes_after_a_good_start(kind: str, keep: int, rest: bytes) -> None:
    survives(SEEDS[kind][:keep] + rest)


def test_png_that_inflates_to_gigabytes() -> None:
    bomb = zlib.compress(bytes(60_000_000), 9)
    header = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + files.chunk(b"IHDR", header) + files.chunk(b"IDAT", bomb) + files.chunk(b"IEND", b"")
    assert peak_memory(data, SMALL) < 10_000_000


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt", b"iTXt"])
def test_png_metadata_that_inflates_to_gigabytes(kind: bytes) -> None:
    bomb = zlib.compress(bytes(60_000_000), 9)
    body = b"name\0\0" + bomb if kind != b"iTXt" else b"name\0\1\0\0\0" + bomb
    data = files.png(files.noise((9, 8, 3)), (kind, body))
    assert peak_memory(data, Limits(max_metadata_bytes=1_000_000)) < 10_000_000


def test_profile_bomb_is_named() -> None:
    data = files.png(files.noise((9, 8, 3)), (b"iCCP", b"name\0\0" + zlib.compress(bytes(3_000_000), 9)))
    assert isinstance(survives(data), ImageTooLarge)


@pytest.mark.parametrize(("width", "height"), [(65_500, 65_500), (2**31 - 1, 1), (1, 2**31 - 1), (0, 5), (5, 0)])
def test_sizes_that_cannot_be(width: int, height: int) -> None:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + files.chunk(b"IHDR", header) + files.chunk(b"IDAT", b"") + files.chunk(b"IEND", b"")
    assert survives(data, Limits()) is not None


def test_png_frame_count_that_lies() -> None:
    data = files.png(files.noise((9, 8, 3)), (b"acTL", struct.pack(">II", 99, 0)))
    assert isinstance(survives(data), BrokenImage)
    data = files.png(files.noise((9, 8, 3)), (b"acTL", struct.pack(">II", 2**31 - 1, 0)))
    assert isinstance(survives(data), ImageTooLarge)


def test_tiff_values_that_overflow() -> None:
    good = files.tiff(files.noise((64, 64)), rowsperstrip=8)
    for code in (256, 257, 258, 259, 262, 273, 277, 278, 279, 284):
        for value in (0, 1, 2**31 - 1, 2**32 - 1):
            data = bytearray(good)
            for kind in (3, 4):
                needle = struct.pack("<HH", code, kind)
                if needle in data:
                    struct.pack_into("<I", data, data.index(needle) + 8, value)
            survives(bytes(data))


def test_tiff_tag_count_that_lies() -> None:
    good = files.tiff(files.noise((64, 64)), rowsperstrip=8, description="x" * 100)
    for code in (258, 270, 273, 279):
        for count in (0, 2**16, 2**31, 2**32 - 1):
            data = bytearray(good)
            place = next(i for i in range(8, len(data)) if data[i : i + 2] == struct.pack("<H", code))
            struct.pack_into("<I", data, place + 4, count)
            survives(bytes(data))


def test_lzw_codes_that_name_nothing_are_refused_before_they_are_decoded() -> None:
    """Found by fuzzing: on such a stream imagecodecs reads outside its table, and now and then dies of it."""
    good = SEEDS["tiles"]
    with tifffile.TiffFile(io.BytesIO(good)) as file:
        offset, size = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
    stream = good[offset : offset + size]
    assert is_sound(stream)
    clear_then_unknown = bytes([0b10000000, 0b01111111, 0b11000000])  # 256, 511
    assert not is_sound(clear_then_unknown) and not is_sound(stream[1:]) and not is_sound(b"")
    data = good[:offset] + clear_then_unknown + good[offset + 3 :]
    assert isinstance(survives(data), BrokenImage)


@pytest.mark.parametrize("options", [{}, {"rowsperstrip": 16}, {"tile": (32, 32)}])
def test_jpeg_in_a_tiff_that_is_far_larger_than_its_page(options: dict[str, object]) -> None:
    """Found by fuzzing: 2 kB of such a file took a minute and 700 MB, all of it cut away afterwards."""
    good = files.tiff(files.smooth(), photometric="rgb", compression="jpeg", **options)
    assert survives(good) is None
    with tifffile.TiffFile(io.BytesIO(good)) as file:
        start = file.pages[0].dataoffsets[-1]
    data = bytearray(good)
    frame = good.index(b"\xff\xc0", start)
    struct.pack_into(">HH", data, frame + 5, 12_288, 16_384)
    found = survives(bytes(data))
    assert isinstance(found, BrokenImage)
    assert "far larger" in str(found)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=3000), st.integers(1, 64))
def test_every_lzw_stream_that_an_encoder_writes_is_sound(data: bytes, repeat: int) -> None:
    stream = imagecodecs.lzw_encode(data * repeat)
    assert is_sound(stream)
    assert all(is_sound(stream[:end]) for end in range(2, min(len(stream), 40)))


def test_directories_that_nest_forever() -> None:
    data = bytearray(b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 1) + struct.pack("<HHII", 330, 4, 1, 8))
    data += struct.pack("<I", 8)
    assert isinstance(survives(bytes(data)), ImageError)


def test_gif_with_a_million_empty_frames() -> None:
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x4c\x01\x00"
    data = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6) + frame * 1_000_000 + b"\x3b"
    assert isinstance(survives(data), ImageTooLarge)


def test_boxes_that_give_no_progress() -> None:
    data = struct.pack(">I4s4sI4s", 20, b"ftyp", b"avif", 0, b"avif") + struct.pack(">I4s", 0, b"meta") * 3
    assert isinstance(survives(data), ImageError)


def test_dicom_sequences_nested_without_end() -> None:
    start = files.dicom(files.noise((9, 8)))[:132]
    meta = files.dicom(files.noise((9, 8)))
    body = meta[: meta.index(b"\x08\x00\x08\x00") if b"\x08\x00\x08\x00" in meta else 300]
    nested = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    assert isinstance(survives(body + nested * 5_000), ImageError)
    assert isinstance(survives(start + nested * 5_000), ImageError)


@pytest.mark.parametrize("value", ["1E999", "-1E999", "NAN", "INF", "1E300", "1_0", "9" * 70])
@pytest.mark.parametrize("key", ["NAXIS", "NAXIS1", "BITPIX", "PCOUNT", "XTENSION"])
def test_fits_numbers_that_are_none(key: str, value: str) -> None:
    good = files.fits(files.noise((9, 8), "int16"), "PCOUNT  = 0".ljust(80))
    card = f"{key:<8}= {value:>20}".ljust(80).encode()
    at = good.find(f"{key:<8}=".encode())
    data = good[:at] + card + good[at + 80 :] if at >= 0 else good[:80] + card + good[160:]
    found = survives(data)
    assert found is None or isinstance(found, ImageError)


def test_npy_numbers_of_thousands_of_digits() -> None:
    for digits in (300, 4_299, 4_300, 4_900):
        text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': (1{'0' * digits}, 1{'0' * digits})}}".encode()
        assert survives(b"\x93NUMPY\2\0" + struct.pack("<I", len(text)) + text) is not None


def test_what_nobody_foresaw_in_a_header_is_the_files_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    from images.headers import bmp

    for error in (RecursionError(), OverflowError("int too large"), KeyError(3), struct.error("unpack")):
        monkeypatch.setattr(bmp, "_gray_palette", lambda *_, error=error: (_ for _ in ()).throw(error))
        with pytest.raises(BrokenImage, match="cannot be true"):
            probe(files.pillow(files.smooth()[..., :1], "BMP"))
    monkeypatch.setattr(bmp, "_gray_palette", lambda *_: (_ for _ in ()).throw(OSError("the disk is broken")))
    with pytest.raises(OSError, match="disk"):
        probe(files.pillow(files.smooth()[..., :1], "BMP"))


def test_npy_headers_are_read_never_run() -> None:
    text = b"{'descr': __import__('os').system('true'), 'fortran_order': False, 'shape': (2, 2)}"
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(64)
    assert isinstance(survives(data), BrokenImage)
    text = b"{'descr': '|O', 'fortran_order': False, 'shape': (2, 2)}"
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(64)
    assert isinstance(survives(data), UnsupportedFormat)


def test_a_file_that_is_two_kinds_at_once_is_read_as_its_first() -> None:
    png = SEEDS["png"]
    assert probe(png + SEEDS["jpeg"]).format == "png"
    assert survives(png + b"PK\x03\x04" + bytes(100) + b"<script>alert(1)</script>") is None
    decoded = decode_here(png + b"<script>")
    assert b"<script>" not in encode(decoded, decoded.pixels).data


def test_metadata_too_large_for_a_jpeg_is_left_out() -> None:
    icc = bytes(70_000)
    decoded = decode_here(files.png(files.noise((9, 8, 3)), (b"iCCP", b"p\0\0" + zlib.compress(icc))))
    assert decode_here(encode(decoded, decoded.pixels, "jpeg").data).metadata.icc == icc


def tiff_of(pages: int, tags: int) -> bytes:
    """A chain of directories with the same many private tags each."""
    entries = b"".join(struct.pack("<HHII", 40_000 + n, 3, 1, 0) for n in range(tags))
    data = bytearray(b"II*\0" + struct.pack("<I", 8))
    for index in range(pages):
        following = len(data) + 2 + len(entries) + 4 if index < pages - 1 else 0
        data += struct.pack("<H", tags) + entries + struct.pack("<I", following)
    return bytes(data)


def slow_headers() -> dict[str, bytes]:
    """Files whose headers alone would keep a parser without bounds busy for minutes."""
    gif = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0) + b"\x21\xfe" + b"\x01x" * 20_000_000 + b"\0;"
    cards = ("SIMPLE  =                    T" + " " * 50 + "COMMENT x".ljust(80) * 400_000).encode()
    png = b"\x89PNG\r\n\x1a\n" + files.chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 2, 0, 0, 0))
    return {
        "gif": gif,
        "fits": cards,
        "png": png + files.chunk(b"prVt", b"") * 3_000_000,
        "jpeg": b"\xff\xd8" + b"\xff\xfe\x00\x02" * 5_000_000,
        "fill": b"\xff\xd8" + b"\xff" * 30_000_000,
        "tiff": tiff_of(9_000, 500),
        "webp": b"RIFF" + struct.pack("<I", 24_000_000) + b"WEBP" + (b"JUNK" + bytes(4)) * 3_000_000,
    }


@pytest.mark.parametrize(("kind", "data"), slow_headers().items(), ids=slow_headers().keys())
def test_headers_that_take_their_time_are_cut_short(kind: str, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0
    real = Source.read

    def counted(self: Source, offset: int, size: int) -> bytes:
        nonlocal reads
        reads += 1
        return real(self, offset, size)

    monkeypatch.setattr(Source, "read", counted)
    assert isinstance(survives(data, Limits()), ImageError)
    assert reads < 1_200_000  # about a second
