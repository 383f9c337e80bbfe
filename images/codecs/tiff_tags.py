"""TIFF tags as they travel: read as raw bytes, written again page by page, EXIF and GPS directories included.

tifffile writes no sub-directories of this kind, so they are appended to the finished file and linked by hand.
"""

from __future__ import annotations

import io
import json
import re
import struct
from collections.abc import Callable
from typing import IO, Any

from images.errors import BrokenImage, ImageError
from images.headers import tiff_directories as ifd
from images.headers.tiff_directories import Page, Tiff
from images.limits import Limits
from images.source import Source

Tags = list[tuple[int, int, bytes]]
Directories = dict[int, Tags]
COLOR_MAP, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, PREDICTOR = 320, 282, 283, 296, 317
XMP, ICC, EXIF_IFD, GPS_IFD, INTEROP_IFD, MAX_SAMPLE = 700, 34675, 34665, 34853, 40965, 281
GDAL_NO_DATA, MICROMANAGER = 42113, 51123
IMAGE_HISTORY = 37395  # of TIFF/EP: what has been done to the image
_PIXELS = re.compile(rb"<(?:\w+:)?Pixels\b[^>]*>")
NOTED = (ifd.SOFTWARE, IMAGE_HISTORY)
DIRECTORIES = {EXIF_IFD: "ExifTag", GPS_IFD: "GPSTag"}
# MetaMorph's, Zeiss LSM's, Olympus' and NIH Image's: of planes and places that pages written anew have not.
_OUTSIDE = {*range(33628, 33632), 34412, 33560, 34361, 34362, 43314}
# Tags that say how pixels lie in the file, or that tifffile writes from its arguments: never copied.
_REWRITTEN = {
    *range(254, 260), 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, MAX_SAMPLE, 284, 288, 289, 292, 293, 297,
    PREDICTOR, COLOR_MAP, *range(322, 329), 330, 338, 339, 340, 341, 347, *range(512, 522), 529, 530, 531, 532,
    EXIF_IFD, GPS_IFD, INTEROP_IFD, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, 400, 32997, 32998, 34377,
    *_OUTSIDE,
}  # fmt: skip


def copied_tags(tiff: Tiff, page: Page) -> Tags:
    """(code, type, bytes) of every tag that is copied."""
    return [
        (tag.code, tag.kind, tiff.source.read(tag.offset, tag.size))
        for tag in page.tags.values()
        if tag.code not in _REWRITTEN and tag.kind in ifd.SIZES and tag.count
    ]


def sub_directories(tiff: Tiff, page: Page) -> Directories:
    """The EXIF and GPS directories; one that is damaged is left out."""
    found = {}
    for code in DIRECTORIES:
        offset = tiff.number(page, code)
        if not offset:
            continue
        try:
            found[code] = copied_tags(tiff, tiff.page(offset))
        except BrokenImage:
            continue
    return found


def exif_directories(exif: bytes) -> Directories:
    """The directories of an EXIF block from a JPEG or PNG, whose byte order the file we write shares."""
    if not exif:
        return {}
    try:
        tiff = Tiff(Source(exif), Limits())
        return sub_directories(tiff, tiff.page(tiff.first))
    except ImageError:
        return {}


def extratag(tag: tuple[int, int, bytes], order: str) -> tuple[Any, ...]:
    """A copied tag as tifffile takes it: raw bytes, but rationals as numbers (it doubles the count of raw ones)."""
    code, kind, data = tag
    if kind in (ifd.RATIONAL, ifd.SRATIONAL):
        numbers = struct.unpack(f"{order}{len(data) // 4}{'I' if kind == ifd.RATIONAL else 'i'}", data)
        return code, kind, len(data) // 8, numbers, False
    return code, kind, None, data, False


def noted(tags: Tags, note: str | None) -> Tags:
    """The tags with the note in a field that no reader parses."""
    if not note:
        return tags
    texts = {code: data for code, kind, data in tags if kind == ifd.ASCII}
    field, text = note_field(lambda code: texts.get(code, b""), note)
    return [tag for tag in tags if tag[0] != field] + [(field, ifd.ASCII, text)]


def note_field(text_of: Callable[[int], bytes], note: str) -> tuple[int, bytes]:
    """(tag, its new value) for the note: behind Software, or where programs parse that (ScanImage), ImageHistory."""
    software = text_of(ifd.SOFTWARE)
    parsed = software.startswith(b"SI.") or b"\n" in software or b"\r" in software
    code = IMAGE_HISTORY if parsed else ifd.SOFTWARE
    before = text_of(code).rstrip(b"\0")
    return code, (before + b"; " if before else b"") + note.encode("ascii", "replace") + b"\0"


def listed(tags: Tags, alone: bool) -> Tags:
    """The tags of a file whose every plane has its directory: none may say that it has not.

    `alone`: what was behind the file's header is gone, so Micro-Manager's tag must not make readers look for it.
    """
    return [
        (code, kind, data.replace(b', "truncated": true', b"") if data.startswith(b'{"shape"') else data)
        for code, kind, data in tags
        if not (alone and code == MICROMANAGER)
    ]


def resized(tags: Tags, width: int, height: int) -> Tags:
    """The tags of a crop: OME-XML and tifffile's own description give its size, or readers take it for damaged."""
    return [
        (code, kind, _resized(data, width, height) if code == ifd.DESCRIPTION else data) for code, kind, data in tags
    ]


def as_floats(tags: Tags) -> Tags:
    """The tags of samples that became float32: OME-XML tells their type."""

    def edit(match: re.Match[bytes]) -> bytes:
        found = re.sub(rb"""\bType=["'][^"']*["']""", b'Type="float"', match[0])
        return re.sub(rb"""\sSignificantBits=["'][^"']*["']""", b"", found)

    return [(code, kind, _PIXELS.sub(edit, data) if code == ifd.DESCRIPTION else data) for code, kind, data in tags]


def _resized(description: bytes, width: int, height: int) -> bytes:
    if description.startswith(b'{"shape":'):
        return _resized_shape(description, width, height)

    def edit(match: re.Match[bytes]) -> bytes:
        found = re.sub(rb"""\bSizeX=["']\d+["']""", b'SizeX="%d"' % width, match[0])
        return re.sub(rb"""\bSizeY=["']\d+["']""", b'SizeY="%d"' % height, found)

    return _PIXELS.sub(edit, description)


def _resized_shape(description: bytes, width: int, height: int) -> bytes:
    """tifffile's JSON: the sizes stand where "axes" has X and Y; without axes it is dropped, being of no use."""
    try:
        found = json.loads(description.rstrip(b"\0"))
        sizes = {"X": width, "Y": height}
        found["shape"] = [sizes.get(axis, size) for axis, size in zip(found["axes"], found["shape"], strict=True)]
    except (ValueError, KeyError, TypeError):
        return b"\0"
    return json.dumps(found).encode() + b"\0"


def add_directories(file: IO[bytes], directories: list[Directories]) -> None:
    """Append the EXIF and GPS directories to a finished file and point the placeholders at them."""
    if not any(directories):
        return
    size = file.seek(0, io.SEEK_END)
    source = Source(file.getvalue()) if isinstance(file, io.BytesIO) else Source(f"/proc/self/fd/{file.fileno()}")
    with source:
        tiff = Tiff(source, Limits(max_frames=len(directories) + 1, max_metadata_bytes=size))
        places = [
            (page.tags[code].offset, page.tags[code].kind, tags)
            for page, wanted in zip(tiff.pages(), directories, strict=False)
            for code, tags in wanted.items()
        ]
    for offset, kind, tags in places:
        end = file.seek(0, io.SEEK_END)
        file.write(bytes(-end % 8))
        end += -end % 8
        file.write(_directory(tags, end, tiff.order, tiff.big))
        file.seek(offset)
        file.write(struct.pack(tiff.order + offset_code(kind), end))


def offset_code(kind: int) -> str:
    """The struct code of an offset, or a size, of this tag type."""
    return {ifd.LONG8: "Q", ifd.IFD8: "Q", ifd.SHORT: "H"}.get(kind, "I")


def _directory(tags: Tags, offset: int, order: str, big: bool) -> bytes:
    """A directory's bytes for a place at `offset`: entries, the end mark, then the values that do not fit inline."""
    count, entry, inline = ("Q", "HHQ", 8) if big else ("H", "HHI", 4)
    width = struct.calcsize("<" + entry) + inline
    start = offset + struct.calcsize("<" + count) + len(tags) * width + inline
    body, values = [struct.pack(order + count, len(tags))], bytearray()
    for code, kind, data in sorted(tags):
        body.append(struct.pack(order + entry, code, kind, len(data) // ifd.SIZES[kind]))
        if len(data) <= inline:
            body.append(data.ljust(inline, b"\0"))
            continue
        body.append(struct.pack(order + ("Q" if big else "I"), start + len(values)))
        values += data + bytes(len(data) & 1)
    return b"".join([*body, bytes(inline), bytes(values)])
