"""DNG: denoised on the sensor's mosaic, where noise is still independent from pixel to pixel, and written as a DNG.

Tags that describe the camera and the look (matrices, neutral, black and white level, opcodes, EXIF) are copied; those
that describe the old coding or its noise are not. Samples are written linear and uncompressed, which every raw
developer opens.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import rawpy
import tifffile
from numpy.typing import NDArray

from images import note as notes
from images.codecs import tiff_tags as tagging
from images.decoded import Decoded, Metadata
from images.errors import BrokenImage, UnsupportedFormat
from images.headers import tiff as header
from images.headers import tiff_directories as ifd
from images.headers.tiff_directories import Tiff
from images.info import ImageInfo
from images.limits import Limits
from images.source import Source

Array = NDArray[Any]
_CFA_TAGS, _DNG_TAGS, _FIRST_DNG, _LAST_DNG = (33421, 33422), (271, 272, 274, 305, 306, 315, 33432, 700), 50706, 52600
# Linearisation table (applied by the reader), digests of the old data, its noise profile, and its coding.
_STALE = {50712, 50781, 50972, 51111, 51041, 50974, 50975, 52547, 52553, 52554, 52555}
_GEOMETRY = {50719, 50720, 50829, 50830, 51125}


def decode(source: Source, info: ImageInfo, limits: Limits) -> Decoded:
    """The sensor's mosaic, (1, H, W, 1) uint16, linear."""
    tiff = Tiff(source, limits)
    first = tiff.page(tiff.first)
    raw = header.raw_page(tiff, first)
    if raw is None or ifd.DNG_VERSION not in first.tags:
        raise UnsupportedFormat("This camera's raw format is not read directly; convert the file to DNG and send that.")
    mosaic = _mosaic(source, info)
    tags = {tag[0]: tag for page in (first, raw) for tag in tagging.copied_tags(tiff, page) if _kept(tag[0])}
    native = {
        "order": tiff.order,
        "tags": [tag for code, tag in sorted(tags.items()) if code not in _STALE],
        "directories": tagging.sub_directories(tiff, first),
        "size": mosaic.shape,
    }
    software = tags.get(ifd.SOFTWARE, (0, 0, b""))[2]
    warnings = ("The raw image was denoised on its mosaic; embedded previews were left out of the result.",)
    return Decoded(mosaic[None, ..., None], None, info, Metadata(native=native), warnings, notes.find(software))


def _kept(code: int) -> bool:
    return code in _CFA_TAGS or code in _DNG_TAGS or _FIRST_DNG <= code <= _LAST_DNG


def _mosaic(source: Source, info: ImageInfo) -> Array:
    """The sensor's samples (H, W) uint16, decompressed and linear."""
    try:
        with rawpy.imread(io.BytesIO(bytes(source.whole()))) as raw:
            pattern, kind = raw.raw_pattern, raw.raw_type
            mosaic = np.array(raw.raw_image)
    except rawpy.LibRawError as error:
        raise BrokenImage("The DNG file's image data is damaged, or coded in a way that is not read.") from error
    if kind != rawpy.RawType.Flat or pattern is None or pattern.shape != (2, 2):
        raise UnsupportedFormat("Only raw images with a 2 x 2 (Bayer) mosaic are read.")
    if mosaic.dtype != np.uint16 or mosaic.shape != (info.height, info.width):
        raise BrokenImage("The DNG file gives two different sizes for its image.")
    return mosaic


def encode(stored: Array, metadata: Metadata, info: ImageInfo, note: str | None) -> bytes:
    """A DNG of the mosaic (1, H, W, 1) of a raw image; a crop of it loses the tags about the full frame's geometry."""
    native = metadata.native
    if info.format not in ("dng", "raw") or "tags" not in native:
        raise UnsupportedFormat("DNG is written for a raw image only, with its metadata; choose tiff.")
    mosaic = stored[0, ..., 0]
    whole = native["size"] == mosaic.shape
    tags: tagging.Tags = [tag for tag in native["tags"] if whole or tag[0] not in _GEOMETRY]
    directories = native["directories"]
    if native.get("safe"):
        directories = {code: value for code, value in directories.items() if code != tagging.GPS_IFD}
    extratags: list[tuple[Any, ...]] = [tagging.extratag(tag, native["order"]) for tag in tagging.noted(tags, note)]
    extratags += [(tagging.DIRECTORIES[code], 4, 1, 0, False) for code in directories]
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, byteorder=native["order"]) as writer:
        writer.write(mosaic, photometric="CFA", metadata=None, software=False, extratags=extratags)
    tagging.add_directories(buffer, [directories])
    return buffer.getvalue()
