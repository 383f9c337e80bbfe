"""JPEG, gray, colour and CMYK. Metadata segments travel byte for byte around the newly coded scan.

Quality: the input's own quantisation tables, refined to quality 90 where they were coarser (noise-free images show the
blocks that noise had hidden), and its chroma subsampling. So the result is never coarser than the input.
"""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from images import note as notes
from images.codecs import pillow
from images.decoded import Decoded, Metadata
from images.errors import BrokenImage
from images.headers import jpeg as header
from images.info import ImageInfo
from images.limits import Limits
from images.source import Source

Array = NDArray[Any]
_EXIF, _XMP, _ICC, _MPF = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0", b"MPF\0"
_CODING = {header.SOS, header.DQT, 0xC4, 0xDD, header.APP14, *range(0xC0, 0xC4), *range(0xC5, 0xC8)}
_FLOOR = 90
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_PAYLOAD = 65_533


def decode(source: Source, info: ImageInfo, limits: Limits) -> Decoded:
    """Pixels as stored: the orientation tag is carried, not applied."""
    image = pillow.opened(source, info, "JPEG")
    try:
        image.load()
    except Exception as error:
        raise BrokenImage("The JPEG file's image data is damaged or cut off.") from error
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or image.mode != _MODES[info.channels]:
        raise BrokenImage("The JPEG file's channels do not fit its header.")
    pixels = np.array(image).reshape(1, info.height, info.width, info.channels)
    segments = _segments(source)
    metadata = _metadata(segments)
    metadata.native["tables"] = {index: list(table) for index, table in image.quantization.items()}
    metadata.native["subsampling"] = JpegImagePlugin.get_sampling(image)
    warnings: tuple[str, ...] = ()
    if any(marker == header.APP2 and data.startswith(_MPF) for marker, data in segments):
        warnings = ("The file holds further pictures (a preview or a stereo pair); the result holds the first only.",)
    return Decoded(
        pixels=pixels,
        alpha=None,
        info=info,
        metadata=Metadata(**{**metadata.__dict__, "dpi": pillow.dpi_of(image)}),
        warnings=warnings,
        denoised_before=notes.find(*(data for marker, data in segments if marker == header.COM)),
    )


def _segments(source: Source) -> list[tuple[int, bytes]]:
    """Segments before the scan that are not part of the coding, in order."""
    return [(m, source.read(offset, size)) for m, offset, size in header.segments(source) if m not in _CODING]


def _metadata(segments: list[tuple[int, bytes]]) -> Metadata:
    exif = next((d[6:] for m, d in segments if m == header.APP1 and d.startswith(_EXIF)), b"")
    xmp = next((d[len(_XMP) :] for m, d in segments if m == header.APP1 and d.startswith(_XMP)), b"")
    icc = sorted((d[12], d[14:]) for m, d in segments if m == header.APP2 and d.startswith(_ICC) and len(d) > 14)
    comments = tuple(d.decode("utf-8", "replace").rstrip("\0") for m, d in segments if m == header.COM)
    return Metadata(exif, b"".join(part for _, part in icc), xmp, None, comments, {"segments": segments})


def encode(stored: Array, metadata: Metadata, info: ImageInfo, note: str | None) -> bytes:
    """A JPEG of a (1, H, W, 1 | 3 | 4) uint8 array."""
    mode = _MODES[stored.shape[3]]
    image = Image.fromarray(stored[0, :, :, 0] if mode == "L" else stored[0], mode=mode)
    options: dict[str, Any] = {"quality": 95, "subsampling": 0}
    own = info.format == "jpeg" and "segments" in metadata.native
    tables = metadata.native.get("tables") if info.format == "jpeg" else None
    if tables:
        options = {"qtables": _refined(tables), "subsampling": max(metadata.native.get("subsampling", 0), 0)}
    if mode != "RGB":
        options.pop("subsampling", None)
    if metadata.dpi and not own:
        options["dpi"] = tuple(round(value) for value in metadata.dpi)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return _assemble(buffer.getvalue(), _carried(metadata) if own else _built(metadata), note)


def _refined(tables: dict[int, list[int]]) -> list[list[int]]:
    """Each table, nowhere coarser than the standard table at quality 90; values fit 8 bits."""
    standard = Image.new("RGB", (8, 8))
    buffer = io.BytesIO()
    standard.save(buffer, "JPEG", quality=_FLOOR)
    floor = JpegImagePlugin.JpegImageFile(io.BytesIO(buffer.getvalue())).quantization
    return [
        [max(1, min(value, limit)) for value, limit in zip(table, floor[min(index, 1)], strict=True)]
        for index, table in sorted(tables.items())
    ]


def _carried(metadata: Metadata) -> list[tuple[int, bytes]]:
    """The input's own segments, with EXIF and XMP as they were filtered, less the directory of further pictures."""
    kept = []
    for marker, data in metadata.native["segments"]:
        if marker == header.APP1 and data.startswith(_EXIF):
            data = _EXIF + metadata.exif if metadata.exif else b""
        elif marker == header.APP1 and data.startswith(_XMP):
            data = _XMP + metadata.xmp if metadata.xmp else b""
        elif marker == header.APP2 and data.startswith(_MPF):
            data = b""
        if data:
            kept.append((marker, data))
    return kept


def _built(metadata: Metadata) -> list[tuple[int, bytes]]:
    """Segments for metadata that came from another format; what does not fit a segment is left out."""
    built = []
    if metadata.exif and len(metadata.exif) <= _PAYLOAD - 6:
        built.append((header.APP1, _EXIF + metadata.exif))
    if metadata.xmp and len(metadata.xmp) <= _PAYLOAD - len(_XMP):
        built.append((header.APP1, _XMP + metadata.xmp))
    step = _PAYLOAD - 14
    parts = [metadata.icc[i : i + step] for i in range(0, len(metadata.icc), step)]
    if len(parts) < 256:
        built += [(header.APP2, _ICC + bytes((i + 1, len(parts))) + part) for i, part in enumerate(parts)]
    built += [(header.COM, text.encode()[:_PAYLOAD]) for text in metadata.comments]
    return built


def _assemble(coded: bytes, segments: list[tuple[int, bytes]], note: str | None) -> bytes:
    """`coded` with `segments` and the note after its start marker; its own JFIF header gives way to a carried one."""
    body = coded[2:]
    if body[:2] == b"\xff\xe0":
        own_size = 2 + struct.unpack(">H", body[2:4])[0]
        jfif = any(marker == header.APP0 and data.startswith(b"JFIF\0") for marker, data in segments)
        start, body = (b"" if jfif else body[:own_size]), body[own_size:]
    else:
        start = b""
        segments = [s for s in segments if s[0] != header.APP0]  # a JFIF header over CMYK would be a lie
    if note:
        segments = [*segments, (header.COM, note.encode())]
    extra = [bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data for marker, data in segments]
    return b"".join([coded[:2], start, *extra, body])
