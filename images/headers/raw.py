"""Cameras' own raw formats: which one, and how large its sensor's image is; what the pixels mean, LibRaw knows.

Sources: TIFF 6.0 for NEF, ARW, PEF, SRW and their like; the structures of CR2, CR3, ORF, RW2, RAF and MRW as LibRaw,
ExifTool and lclevy's descriptions of Canon's files give them.
"""

from __future__ import annotations

from itertools import islice

from images.errors import CONVERT_RAW, BrokenImage, UnsupportedFormat
from images.headers import tiff as header
from images.headers import tiff_directories as ifd
from images.headers.heif import boxes
from images.headers.tiff_directories import Page, Tiff
from images.info import ImageInfo
from images.limits import Limits
from images.source import Source

RAF, RW2, ORF, MRW = b"FUJIFILMCCD-RAW", b"IIU\0", (b"IIRO", b"IIRS", b"MMOR"), b"\0MRM"
_UNREAD = (b"FOVb",)  # Sigma's X3F: three layers of silicon, no mosaic
_SENSOR_WIDTH, _SENSOR_HEIGHT = 2, 3  # of RW2
_RAF_SIZE, _RAF_XTRANS = 0x0100, 0x0131
_CANON, _NOTES = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48"), (b"CMT1", b"CMT2", b"CMT4")
_MAX_SEGMENTS = 64


def read(source: Source, limits: Limits) -> ImageInfo:
    """The sensor's image, borders included, as `raw`; planes and visible size are the decoder's business."""
    head = source.head(16)
    if head.startswith(RAF):
        return header.mosaic_info(*_raf(source))
    if head.startswith(MRW):
        return header.mosaic_info(*_mrw(source))
    if head[4:12] == b"ftypcrx ":
        return header.mosaic_info(*_cr3(source))
    if head.startswith(_UNREAD) or head[6:14] == b"HEAPCCDR":
        raise UnsupportedFormat(CONVERT_RAW)
    tiff = Tiff(source, limits)
    if head[8:10] == b"CR":
        return header.mosaic_info(*_cr2(tiff))
    first = tiff.page(tiff.first)
    if head.startswith(RW2):
        return header.mosaic_info(tiff.number(first, _SENSOR_WIDTH), tiff.number(first, _SENSOR_HEIGHT))
    return header.mosaic_info(tiff.number(first, ifd.WIDTH), tiff.number(first, ifd.LENGTH))  # ORF


def _cr2(tiff: Tiff) -> tuple[int, int]:
    """From the lossless JPEG that the fourth directory points at: the directory itself need not say."""
    page: Page | None = next(islice(tiff.pages(), 3, 4), None)
    place = tiff.number(page, ifd.STRIP_OFFSETS) if page else 0
    if not place or tiff.source.read(place, 2) != b"\xff\xd8":
        raise BrokenImage("The CR2 file holds no raw image: it is damaged or cut off.")
    place += 2
    for _ in range(_MAX_SEGMENTS):
        mark, size = tiff.source.unpack(">HH", place)
        if mark == 0xFFC3:
            height, width, parts = tiff.source.unpack(">HHB", place + 5)
            if parts == 3:
                raise UnsupportedFormat(
                    "This CR2 file is an sRAW or mRAW, which is no mosaic; save the full raw image."
                )
            return width * parts, height
        place += 2 + size
    raise BrokenImage("The CR2 file holds no raw image: it is damaged or cut off.")


def _cr3(source: Source) -> tuple[int, int]:
    """The largest of the tracks' images."""
    sizes = [(0, 0)]
    for start in tracks(source):
        kind, width, height = source.unpack(">4x4s24xHH", start)
        if kind == b"CRAW":
            sizes.append((width, height))
    return max(sizes, key=lambda size: size[0] * size[1])


def tracks(source: Source) -> list[int]:
    """Where the first sample entry of each of a CR3's tracks begins."""
    found = []
    for _, start, end in _inside(source, (0, source.size), b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"):
        if end - start >= 8 + 36:
            found.append(start + 8)
    return found


def notes(source: Source) -> list[tuple[bytes, int, int]]:
    """(kind, start, end) of a CR3's TIFF blocks: CMT1 of the picture, CMT2 EXIF, CMT4 GPS."""
    found = []
    for _, start, end in _inside(source, (0, source.size), b"moov", b"uuid"):
        if end - start > 16 and source.read(start, 16) == _CANON:
            found += [box for box in islice(boxes(source, start + 16, end), 64) if box[0] in _NOTES and box[2] > box[1]]
    return found


def _inside(source: Source, where: tuple[int, int], *path: bytes) -> list[tuple[bytes, int, int]]:
    """The boxes at the end of a path of kinds, in order."""
    level = [(b"", *where)]
    for kind in path:
        level = [box for _, start, end in level for box in islice(boxes(source, start, end), 64) if box[0] == kind][:16]
    return level


def _raf(source: Source) -> tuple[int, int]:
    start, _ = source.unpack(">II", 92)
    (count,) = source.unpack(">I", start)
    place, size = start + 4, (0, 0)
    for _ in range(min(count, 255)):
        tag, length = source.unpack(">HH", place)
        if tag == _RAF_SIZE:
            height, width = source.unpack(">HH", place + 4)
            size = width, height
        if tag == _RAF_XTRANS:
            raise UnsupportedFormat(
                "This camera's sensor has Fuji's X-Trans pattern; only 2 x 2 (Bayer) mosaics are read."
            )
        place += 4 + length
    return size


def _mrw(source: Source) -> tuple[int, int]:
    end = 8 + source.unpack(">I", 4)[0]
    place = 8
    for _ in range(_MAX_SEGMENTS):
        if place >= end:
            break
        kind, length = source.unpack(">4sI", place)
        if kind == b"\0PRD":
            height, width = source.unpack(">HH", place + 16)
            return width, height
        place += 8 + length
    return 0, 0
