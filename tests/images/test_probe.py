"""Headers: the facts are right, the limits hold, and nothing heavy is imported for them."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from images.decode import decode_here
from images.errors import BrokenImage, ImageTooLarge, UnsupportedFormat
from images.info import ImageInfo
from images.limits import Limits
from images.probe import probe
from tests.harness import files

RGB8, GRAY16 = files.noise((20, 30, 3)), files.noise((20, 30, 1), "uint16")
KNOWN = [
    (files.png(RGB8), ImageInfo("png", 30, 20, 3)),
    (files.png(GRAY16), ImageInfo("png", 30, 20, 1, "uint16", bits=16)),
    (files.png(files.noise((20, 30, 2))), ImageInfo("png", 30, 20, 1, has_alpha=True)),
    (files.png_bits(files.noise((20, 30)) & 3, 2), ImageInfo("png", 30, 20, 1, bits=2)),
    (files.png_bits(files.noise((20, 30)) & 3, 2, bytes(12), b"\0"),
     ImageInfo("png", 30, 20, 3, has_alpha=True, bits=2)),
    (files.pillow(RGB8, "JPEG"), ImageInfo("jpeg", 30, 20, 3)),
    (files.pillow(RGB8, "JPEG", progressive=True), ImageInfo("jpeg", 30, 20, 3)),
    (files.pillow(RGB8, "WEBP", lossless=True), ImageInfo("webp", 30, 20, 3)),
    (files.pillow(RGB8, "WEBP", quality=50), ImageInfo("webp", 30, 20, 3)),
    (files.pillow(RGB8, "BMP"), ImageInfo("bmp", 30, 20, 3)),
    (files.pillow(RGB8[..., 0], "BMP"), ImageInfo("bmp", 30, 20, 1)),
    (files.pillow(RGB8, "GIF"), ImageInfo("gif", 30, 20, 3)),
    (files.pillow(RGB8, "AVIF"), ImageInfo("avif", 30, 20, 3)),
    (files.tiff(GRAY16[..., 0]), ImageInfo("tiff", 30, 20, 1, "uint16", bits=16)),
    (files.tiff(files.noise((5, 20, 30), "float32"), photometric="minisblack"),
     ImageInfo("tiff", 30, 20, 1, "float32", 5, bits=32)),
    (files.tiff(files.noise((20, 30, 4)), photometric="rgb", extrasamples=["unassalpha"], bigtiff=True),
     ImageInfo("tiff", 30, 20, 3, has_alpha=True)),
    (files.npy(files.noise((7, 20, 30), "int16")), ImageInfo("npy", 30, 20, 1, "int16", 7, bits=16)),
    (files.fits(files.noise((20, 30), "float64")), ImageInfo("fits", 30, 20, 1, "float64", bits=64)),
    (files.dicom(files.noise((20, 30), "int16")), ImageInfo("dicom", 30, 20, 1, "int16", bits=16)),
    (files.dng(files.noise((20, 30), "uint16")), ImageInfo("dng", 30, 20, 1, "uint16", bits=16)),
]  # fmt: skip


@pytest.mark.parametrize(("data", "expected"), KNOWN, ids=[f"{i.format}-{n}" for n, (_, i) in enumerate(KNOWN)])
def test_facts(data: bytes, expected: ImageInfo, tmp_path: Path) -> None:
    assert probe(data) == expected
    path = tmp_path / "named.wrong"
    path.write_bytes(data)
    assert probe(path) == expected


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"%PDF-1.7 ...", bytes(500), b"<svg xmlns='http://www.w3.org/2000/svg'/>"]
)
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises((UnsupportedFormat, BrokenImage)):
        probe(data)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(max_bytes=100), "bytes; the limit is 100"),
        (Limits(max_pixels=599), "600 pixels (30 x 20); the limit is 599"),
        (Limits(max_side=29), "longest side allowed is 29"),
        (Limits(max_decoded_bytes=1799), "1,800 bytes; the limit is 1,799"),
    ],
)
def test_limits_are_named(limits: Limits, words: str) -> None:
    with pytest.raises(ImageTooLarge) as caught:
        probe(files.png(RGB8), limits)
    assert words in str(caught.value)


def test_page_limit() -> None:
    stack = files.tiff(files.noise((9, 8, 8)), photometric="minisblack")
    assert probe(stack, Limits(max_frames=9)).frames == 9
    with pytest.raises(ImageTooLarge, match="limit"):
        probe(stack, Limits(max_frames=8))


def frames_of(kind: str) -> bytes:
    """Three frames of 20 x 30 that differ."""
    frames = files.noise((3, 30, 20))
    if kind in ("GIF", "PNG", "WEBP"):
        buffer = io.BytesIO()
        first, *rest = (Image.fromarray(np.repeat(frame[..., None], 3, axis=2)) for frame in frames)
        first.save(buffer, kind, save_all=True, append_images=rest)
        return buffer.getvalue()
    if kind == "DICOM":
        return files.dicom(frames)
    if kind == "FITS":
        return files.fits(frames)
    if kind == "TIFF":
        return files.tiff(frames, photometric="minisblack")
    return files.npy(np.asfortranarray(frames) if kind == "NPY in Fortran order" else frames)


@pytest.mark.parametrize("kind", ["TIFF", "FITS", "NPY"])
def test_the_pages_of_a_stack_count_one_by_one(kind: str) -> None:
    assert probe(frames_of(kind), Limits(max_pixels=600)).pixels == 1800
    with pytest.raises(ImageTooLarge, match="600 pixels"):
        probe(frames_of(kind), Limits(max_pixels=599))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "DICOM", "NPY in Fortran order"])
def test_frames_that_are_read_at_once_count_together(kind: str) -> None:
    assert probe(frames_of(kind), Limits(max_pixels=1800)).pixels == 1800
    with pytest.raises(ImageTooLarge, match=r"1,800 pixels in 3 frames; .* at once, so the limit of 1,799 is for all"):
        probe(frames_of(kind), Limits(max_pixels=1799))


def test_metadata_limit() -> None:
    data = files.png(RGB8, (b"tEXt", b"Comment\0" + b"x" * 5000))
    with pytest.raises(ImageTooLarge, match="metadata"):
        probe(data, Limits(max_metadata_bytes=4999))


def test_huge_headers_are_refused_before_decoding() -> None:
    header = struct.pack(">IIBBBBB", 65_000, 65_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + files.chunk(b"IHDR", header) + files.chunk(b"IDAT", b"x") + files.chunk(b"IEND", b"")
    with pytest.raises(ImageTooLarge):
        probe(bomb)


def test_tile_size_is_limited_apart_from_image_size() -> None:
    data = bytearray(files.tiff(files.noise((64, 64)), tile=(16, 16)))
    for code in (322, 323):  # a 64 x 64 image that claims tiles of 60,000 x 60,000
        place = data.index(struct.pack("<HHI", code, 4, 1)) + 8
        struct.pack_into("<I", data, place, 60_000)
    with pytest.raises(ImageTooLarge, match="tiles"):
        probe(bytes(data))


def test_looping_pages_are_refused() -> None:
    data = bytearray(files.tiff(files.noise((2, 8, 8)), photometric="minisblack"))
    first = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, first)[0]
    second = struct.unpack_from("<I", data, first + 2 + 12 * count)[0]
    count = struct.unpack_from("<H", data, second)[0]
    struct.pack_into("<I", data, second + 2 + 12 * count, first)
    with pytest.raises(BrokenImage, match="circle"):
        probe(bytes(data))


def test_pages_that_differ_are_refused() -> None:
    import io

    import tifffile

    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(files.noise((8, 8)))
        writer.write(files.noise((9, 8)))
    with pytest.raises(UnsupportedFormat, match="differ"):
        probe(buffer.getvalue())


def test_dicom_wins_over_the_tiff_header_its_preamble_may_hold() -> None:
    data = bytearray(files.dicom(files.noise((20, 30), "uint16")))
    data[:8] = b"II*\0\x08\0\0\0"
    assert probe(bytes(data)).format == "dicom"


def test_probe_imports_no_codec() -> None:
    code = "import sys, images.probe; print(sorted({'numpy', 'PIL', 'tifffile', 'imagecodecs'} & set(sys.modules)))"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_bits_of_a_multichannel_tiff() -> None:
    info = probe(files.tiff(files.noise((20, 30, 7), "uint16"), photometric="minisblack", planarconfig="contig"))
    assert (info.channels, info.has_alpha, info.dtype) == (7, False, np.dtype("uint16").name)


@pytest.mark.parametrize(
    ("photometric", "options", "words"),
    [
        ("cielab", {}, "CIELab"),
        ("ycbcr", {"subsampling": (1, 1)}, "YCbCr"),
        ("ycbcr", {"compression": "zlib"}, "YCbCr"),
    ],
)
def test_samples_that_are_no_light_are_refused_with_the_way_out(photometric: str, options: Any, words: str) -> None:
    with pytest.raises(UnsupportedFormat, match=f"{words}.*convert it to RGB or grayscale"):
        probe(files.tiff(files.smooth(), photometric=photometric, **options))


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 2)])
def test_the_ycbcr_of_jpeg_is_read_as_rgb(subsampling: tuple[int, int]) -> None:
    data = files.tiff(files.smooth(), photometric="rgb", compression="jpeg", subsampling=subsampling)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert file.pages[0].aspage().photometric == tifffile.PHOTOMETRIC.YCBCR
    assert np.abs(decode_here(data).pixels[0].astype(int) - files.smooth()).mean() < 5
