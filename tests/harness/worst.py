"""The worst that a header of each format can ask of its parser, made in memory: as many parts as fit into a size."""

from __future__ import annotations

import struct
from collections.abc import Callable

from tests.harness import files

IMAGE_TAGS = [(256, 3, 1, 64), (257, 3, 1, 64), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 8), (279, 4, 1, 1)]
_FTYP = struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"heic", 0, b"mif1", b"heic")
_DICOM = bytes(128) + b"DICM" + struct.pack("<HH2sH", 2, 0x10, b"UI", 20) + b"1.2.840.10008.1.2.1\0"
_GIF = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0)


def repeated(start: bytes, part: bytes, size: int) -> bytes:
    """`start`, and as many of `part` as fit into `size` bytes."""
    return start + part * ((size - len(start)) // len(part))


def png(size: int) -> bytes:
    """Empty private chunks."""
    start = b"\x89PNG\r\n\x1a\n" + files.chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 2, 0, 0, 0))
    return repeated(start, files.chunk(b"prVt", b""), size)


def gif_blocks(size: int) -> bytes:
    """A comment in blocks of one byte."""
    return repeated(_GIF + b"\x21\xfe", b"\x01x", size)


def gif_extensions(size: int) -> bytes:
    """Extensions without contents."""
    return repeated(_GIF, b"\x21\xf9\x04" + bytes(5), size)


def gif_image(size: int) -> bytes:
    """One image in blocks as long as they may be: the worst of honest files, which is read."""
    image = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\2"
    return repeated(_GIF + image, b"\xff" + bytes(255), size - 2) + b"\0;"


def jpeg(size: int) -> bytes:
    """Empty comments."""
    return repeated(b"\xff\xd8", b"\xff\xfe\0\2", size)


def jpeg_fill(size: int) -> bytes:
    """Fill bytes."""
    return repeated(b"\xff\xd8", b"\xff", size)


def webp(size: int) -> bytes:
    """Empty chunks."""
    return repeated(b"RIFF" + struct.pack("<I", size - 8) + b"WEBP", b"JUNK" + bytes(4), size)


def bmp(size: int) -> bytes:
    """The longest palette there can be."""
    head = struct.pack("<IiiHHIIiiII", 40, 9, 9, 1, 8, 0, 0, 0, 0, 256, 0)
    return b"BM" + bytes(12) + head + bytes(4 * 256) + bytes(200)


def dicom(size: int) -> bytes:
    """Empty elements."""
    return repeated(_DICOM, struct.pack("<HH2sH", 8, 8, b"CS", 0), size)


def dicom_sequences(size: int) -> bytes:
    """Empty sequences of undefined length."""
    sequence = struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return repeated(_DICOM, sequence, size)


def fits(size: int) -> bytes:
    """Tables without rows, each with a header as long as it may be, all of it keywords."""
    cards = ["XTENSION= 'TABLE   '", "NAXIS   = 0", *(f"K{n:07}= 1" for n in range(7_000)), "END"]
    unit = _cards(*cards)
    return repeated(_cards("SIMPLE  = T", "NAXIS   = 0", "END"), unit, max(size, 2 * len(unit)))


def fits_header(size: int) -> bytes:
    """A header without an end."""
    return repeated(b"SIMPLE  = T".ljust(80), b"COMMENT x".ljust(80), size)


def _cards(*cards: str) -> bytes:
    text = "".join(card.ljust(80) for card in cards)
    return text.ljust(-(-len(text) // 2880) * 2880).encode()


def npy(size: int) -> bytes:
    """A literal of brackets alone, as long as a header may be."""
    body = b"[]," * (min(size, 9_999) // 3)
    return b"\x93NUMPY\2\0" + struct.pack("<I", len(body)) + body


def boxes(size: int) -> bytes:
    """Empty boxes."""
    return repeated(_FTYP, struct.pack(">I4s", 8, b"free"), size)


def heif(size: int) -> bytes:
    """Properties, and lists that name every one of them for the image, many times over."""
    size = min(size, 16 * 1024 * 1024 - 1024)
    count = min(size // 3 // 8, 19_999)
    properties = struct.pack(">I4s", 8, b"free") * count
    entry = struct.pack(">HB", 1, 127) + bytes(range(1, 128))
    room, lists = size - len(properties), []
    while len(lists) < 7 and room > 200:
        entries = min((room - 16) // len(entry), 20_000)
        lists.append(_box(b"ipma", bytes(4) + struct.pack(">I", entries) + entry * entries))
        room -= len(lists[-1])
    iprp = _box(b"iprp", _box(b"ipco", properties) + b"".join(lists))
    return _FTYP + _box(b"meta", bytes(4) + _box(b"pitm", bytes(4) + struct.pack(">H", 1)) + iprp)


def heif_alpha(size: int) -> bytes:
    """Properties that each may be the one of an alpha image."""
    property_ = _box(b"auxC", bytes(4) + b"x")
    ipco = _box(b"ipco", property_ * min(size // len(property_), 19_999))
    parts = _box(b"pitm", bytes(4) + struct.pack(">H", 1)) + _box(b"iprp", ipco)
    return _FTYP + _box(b"meta", bytes(4) + parts)


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def raw(size: int) -> bytes:
    """A CR3 whose tracks each hold as many boxes as are looked at, on every level."""
    level = _box(b"stsd", bytes(44))
    for kind in (b"stbl", b"minf", b"mdia", b"trak"):
        level = _box(kind, struct.pack(">I4s", 8, b"free") * 48 + level * 2)
    start = struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"crx ", 0, b"crx ", b"isom")
    return repeated(start, _box(b"moov", level * 16), max(size, 200_000))


def tiff_stack(size: int) -> bytes:
    """Pages that are alike, as many as there may be."""
    return tiff(min(size // 120, 10_000), [*IMAGE_TAGS, *private(3)])


def tiff_unlike(size: int) -> bytes:
    """Pages that differ from the ones before and behind them."""
    return tiff(min(size // 120, 10_000), [*IMAGE_TAGS, *private(3)], odd=private(3, kind=4))


def tiff_tags(size: int) -> bytes:
    """Pages with as many tags as they may have."""
    return tiff(max(size // 49_200, 1), [*IMAGE_TAGS, *private(4_080)])


def tiff_strips(size: int) -> bytes:
    """A page in a million strips, or as many as fit."""
    strips = min(size // 8, 1_000_000)
    tags = [(256, 3, 1, 1), (257, 4, 1, 60_000), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, strips, 8), (278, 3, 1, 1)]
    tags.append((279, 4, strips, 8 + 4 * strips))
    data = struct.pack("<I", 8) * strips + struct.pack("<I", 1) * strips
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + _directory(tags, 0)


def tiff_sub_images(size: int) -> bytes:
    """A page with as many sub-directories as are looked at, all of them the same long one."""
    long = _directory(private(min(4_090, size // 24)), 0)
    place = 8 + len(long)
    tags = [(256, 3, 1, 64), (257, 3, 1, 64), (330, 4, 64, place)]
    return b"II*\0" + struct.pack("<I", place + 256) + long + struct.pack("<I", 8) * 64 + _directory(tags, 0)


def private(count: int, kind: int = 3) -> list[tuple[int, int, int, int]]:
    """So many tags that nobody knows."""
    return [(40_000 + n, kind, 1, 0) for n in range(count)]


def tiff(
    pages: int, tags: list[tuple[int, int, int, int]], odd: list[tuple[int, int, int, int]] | None = None
) -> bytes:
    """A chain of pages of these tags; every other one has `odd` in place of its last ones."""
    data = bytearray(b"II*\0" + struct.pack("<I", 8))
    for index in range(pages):
        mine = tags if odd is None or index % 2 else tags[: -len(odd)] + odd
        size = 2 + 12 * len(mine) + 4
        data += _directory(mine, len(data) + size if index < pages - 1 else 0)
    return bytes(data)


def _directory(tags: list[tuple[int, int, int, int]], following: int) -> bytes:
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return struct.pack("<H", len(tags)) + entries + struct.pack("<I", following)


CASES: dict[str, list[Callable[[int], bytes]]] = {
    "bmp": [bmp],
    "dicom": [dicom, dicom_sequences],
    "fits": [fits, fits_header],
    "gif": [gif_blocks, gif_extensions, gif_image],
    "heif": [boxes, heif, heif_alpha],
    "jpeg": [jpeg, jpeg_fill],
    "npy": [npy],
    "png": [png],
    "raw": [raw],
    "tiff": [tiff_stack, tiff_unlike, tiff_tags, tiff_strips, tiff_sub_images],
    "webp": [webp],
}
"""By the parser's name: what costs it most, each as a function of the file's size in bytes."""
