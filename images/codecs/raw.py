"""Cameras' own raw formats through LibRaw, denoised on the mosaic as a DNG is, and written as a DNG.

No maker's format can be written by others, so the result is a DNG of the visible sensor. What the samples mean (black
and white level, colour matrix, white balance, pattern, orientation, crop) is what LibRaw found out. EXIF and GPS go
along; the maker's private notes do not: their offsets hold in the old file only, and raw readers believe them.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import rawpy
from numpy.typing import NDArray

from images.codecs import tiff_tags as tagging
from images.decoded import Decoded, Metadata
from images.errors import BrokenImage, ImageError, ImageTooLarge, UnsupportedFormat
from images.headers import raw as header
from images.headers import tiff_directories as ifd
from images.headers.tiff_directories import Tiff
from images.info import ImageInfo
from images.limits import Limits
from images.source import Source

Array = NDArray[Any]
_COPIED = (271, 272, 305, 306, 315, 33432)  # make, model, software, date, artist, copyright
_MAKER_NOTE, _MAKE, _MODEL = 37500, 271, 272
_ORIENTATIONS = {0: 1, 3: 3, 5: 8, 6: 6}  # LibRaw's turns as EXIF counts them
_COLOUR_CODES = {"R": 0, "G": 1, "B": 2}
_D65 = 21
_SCALE = 10_000
_SRGB_FROM_XYZ = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
_WARNING = (
    "The camera's raw file was denoised on its mosaic; the result is a DNG. The maker's private notes and embedded "
    "previews were left out of it."
)
_GUESSED = "LibRaw does not know this camera's colours; the result's colours are a guess."


@dataclass(frozen=True)
class _Frame:
    """The visible mosaic (H, W) uint16 and what its samples mean; lists go by site of the 2 x 2 block."""

    mosaic: Array
    pattern: bytes
    black: list[int]
    white: int
    matrix: Array
    neutral: list[float]
    orientation: int
    crop: tuple[int, int, int, int] | None
    aspect: float
    guessed: bool


def decode(source: Source, info: ImageInfo, limits: Limits) -> Decoded:
    """The mosaic, (1, H, W, 1) uint16, of the sensor without its masked borders."""
    frame = _frame(source, info, limits)
    order, about, directories = _about(source, limits)
    native = {
        "order": order,
        "tags": sorted([*about, *_tags(frame, order, about)]),
        "directories": directories,
        "size": frame.mosaic.shape,
    }
    height, width = frame.mosaic.shape
    info = replace(info, width=width, height=height)
    warnings = (_WARNING, _GUESSED) if frame.guessed else (_WARNING,)
    return Decoded(frame.mosaic[None, ..., None], None, info, Metadata(native=native), warnings)


# ---- pixels ----------------------------------------------------------------------------------------------------------


def _frame(source: Source, info: ImageInfo, limits: Limits) -> _Frame:
    try:
        with rawpy.imread(io.BytesIO(bytes(source.whole()))) as raw:
            sizes = raw.sizes
            _check_sizes(sizes, info, limits)
            if raw.raw_type != rawpy.RawType.Flat:
                raise UnsupportedFormat("This raw file holds no mosaic (sRAW, Foveon or the like), which is not read.")
            return _described(raw, sizes)
    except rawpy.LibRawTooBigError as error:
        raise ImageTooLarge("The raw file's image is larger than its decoder takes.") from error
    except rawpy.LibRawNonFatalError as error:
        raise UnsupportedFormat("This camera, or its way of compressing raw files, is not known here.") from error
    except (rawpy.LibRawError, NotImplementedError) as error:
        raise BrokenImage("The raw file is damaged, cut off, or coded in a way that is not read.") from error


def _check_sizes(sizes: Any, info: ImageInfo, limits: Limits) -> None:
    """What LibRaw is about to allocate and return must be what the header announced, give or take a border."""
    limits.check(replace(info, width=sizes.raw_width, height=sizes.raw_height))
    if not 0 < sizes.raw_width * sizes.raw_height <= 1.1 * info.pixels:
        raise BrokenImage("The raw file gives two different sizes for its image.")
    inside = sizes.top_margin + sizes.height <= sizes.raw_height and sizes.left_margin + sizes.width <= sizes.raw_width
    if not inside or sizes.height == sizes.width - 1:  # how LibRaw lays out Fuji's sensors turned by 45 degrees
        raise UnsupportedFormat("This sensor's pixels are not in rows and columns, which is not read.")
    if min(sizes.height, sizes.width) < 2:
        raise BrokenImage("The raw file holds no image.")


def _described(raw: rawpy.RawPy, sizes: Any) -> _Frame:
    pattern = raw.raw_pattern
    names = raw.color_desc.decode("latin-1")
    if pattern is None or pattern.shape != (2, 2):
        raise UnsupportedFormat("Only raw images with a 2 x 2 (Bayer) mosaic are read.")
    # LibRaw's pattern begins at the sensor's corner, the visible image behind its borders.
    sites = [int(pattern[(y + sizes.top_margin) % 2, (x + sizes.left_margin) % 2]) for y in (0, 1) for x in (0, 1)]
    colours = [names[site : site + 1] for site in sites]
    if sorted(colours) != ["B", "G", "G", "R"]:
        raise UnsupportedFormat("Only raw images with a red, green and blue mosaic are read.")
    black = [int(raw.black_level_per_channel[site]) for site in sites]
    matrix, guessed = _matrix(raw)
    return _Frame(
        mosaic=np.array(raw.raw_image_visible),
        pattern=bytes(_COLOUR_CODES[colour] for colour in colours),
        black=[min(max(level, 0), 65_535) for level in black],
        white=min(max(int(raw.white_level), 1), 65_535),
        matrix=matrix,
        neutral=_neutral(raw),
        orientation=_ORIENTATIONS.get(sizes.flip, 1),
        crop=_crop(sizes),
        aspect=float(sizes.pixel_aspect),
        guessed=guessed,
    )


def _matrix(raw: rawpy.RawPy) -> tuple[Array, bool]:
    """((3, 3) from XYZ (D65) to the camera's colours, whether it is a guess)."""
    known = np.asarray(raw.rgb_xyz_matrix, np.float64)[:3]
    if known.any() and np.isfinite(known).all() and np.abs(known).max() < 100:
        return known, False
    to_srgb = np.asarray(raw.color_matrix, np.float64)[:, :3]
    if np.isfinite(to_srgb).all() and abs(np.linalg.det(to_srgb)) > 1e-3 and np.abs(to_srgb).max() < 100:
        found: Array = np.linalg.inv(to_srgb) @ _SRGB_FROM_XYZ
        return found, False
    return _SRGB_FROM_XYZ, True


def _neutral(raw: rawpy.RawPy) -> list[float]:
    """What a grey surface gives in red, green and blue, by the camera's white balance, else by daylight's."""
    for found in (raw.camera_whitebalance, raw.daylight_whitebalance):
        gains = np.asarray(found[:3], np.float64)
        if np.isfinite(gains).all() and gains.min() > 0 and gains.max() / gains.min() < 100:
            return [float(gains[1] / gain) for gain in gains]
    return [1.0, 1.0, 1.0]


def _crop(sizes: Any) -> tuple[int, int, int, int] | None:
    """(left, top, width, height) of the picture that the maker means, within the visible sensor; None if unknown."""
    left, top = sizes.crop_left_margin - sizes.left_margin, sizes.crop_top_margin - sizes.top_margin
    wide, high = sizes.crop_width, sizes.crop_height
    fits = left >= 0 and top >= 0 and left + wide <= sizes.width and top + high <= sizes.height
    return (left, top, wide, high) if fits and wide > 0 and high > 0 else None


# ---- metadata --------------------------------------------------------------------------------------------------------


def _tags(frame: _Frame, order: str, about: tagging.Tags) -> tagging.Tags:
    """What DNG 1.7 asks of a mosaic, in the byte order of the tags that are copied."""
    tags: tagging.Tags = [
        (33421, ifd.SHORT, struct.pack(order + "2H", 2, 2)),
        (33422, ifd.BYTE, frame.pattern),
        (ifd.ORIENTATION, ifd.SHORT, struct.pack(order + "H", frame.orientation)),
        (ifd.DNG_VERSION, ifd.BYTE, b"\1\4\0\0"),
        (50707, ifd.BYTE, b"\1\1\0\0"),
        (50708, ifd.ASCII, _camera(about)),
        (50713, ifd.SHORT, struct.pack(order + "2H", 2, 2)),
        (50714, ifd.SHORT, struct.pack(order + "4H", *frame.black)),
        (50717, ifd.SHORT, struct.pack(order + "H", frame.white)),
        (50721, ifd.SRATIONAL, _rationals(order, frame.matrix.ravel(), "i")),
        (50728, ifd.RATIONAL, _rationals(order, np.array(frame.neutral), "I")),
        (50778, ifd.SHORT, struct.pack(order + "H", _D65)),
    ]
    if frame.crop:
        left, top, wide, high = frame.crop
        tags += [
            (50719, ifd.LONG, struct.pack(order + "2I", left, top)),
            (50720, ifd.LONG, struct.pack(order + "2I", wide, high)),
        ]
    if abs(frame.aspect - 1) > 1e-3 and 0.1 < frame.aspect < 10:
        tags.append((50718, ifd.RATIONAL, _rationals(order, np.array([1.0, 1 / frame.aspect]), "I")))
    return tags


def _rationals(order: str, values: Array, code: str) -> bytes:
    return b"".join(struct.pack(f"{order}2{code}", round(float(value) * _SCALE), _SCALE) for value in values)


def _camera(about: tagging.Tags) -> bytes:
    """Make and model, once: many makers repeat their name in the model's."""
    texts = {code: data.split(b"\0")[0].strip() for code, kind, data in about if kind == ifd.ASCII}
    make, model = texts.get(_MAKE, b""), texts.get(_MODEL, b"")
    named = model if model.lower().startswith(make.lower().split(b" ")[0]) else make + b" " + model
    return (named.strip() or b"Unknown camera") + b"\0"


def _about(source: Source, limits: Limits) -> tuple[str, tagging.Tags, tagging.Directories]:
    """(byte order, tags about the picture, EXIF and GPS directories), wherever the format keeps them."""
    head = source.head(16)
    try:
        if head.startswith(header.RAF):
            start, size = source.unpack(">II", 84)
            return _from_tiff(Tiff(Source(_exif_of_jpeg(source.read(start, min(size, 1 << 16)))), limits))
        if head[4:12] == b"ftypcrx ":
            return _from_cr3(source, limits)
        if head.startswith(header.MRW):
            return "<", [], {}
        return _from_tiff(Tiff(source, limits))
    except ImageError:
        return "<", [], {}  # its pixels were read, so the result is worth having without


def _from_tiff(tiff: Tiff) -> tuple[str, tagging.Tags, tagging.Directories]:
    page = tiff.page(tiff.first)
    tags = [tag for tag in tagging.copied_tags(tiff, page) if tag[0] in _COPIED]
    directories = {code: _without_notes(found) for code, found in tagging.sub_directories(tiff, page).items()}
    tiff.limits.check_metadata(sum(len(data) for found in [tags, *directories.values()] for _, _, data in found))
    return tiff.order, tags, directories


def _without_notes(tags: tagging.Tags) -> tagging.Tags:
    return [tag for tag in tags if tag[0] != _MAKER_NOTE]


def _exif_of_jpeg(head: bytes) -> bytes:
    """The EXIF block of a JPEG whose first segment it is."""
    if head[6:12] != b"Exif\0\0":
        raise BrokenImage("The preview has no EXIF block.")
    (size,) = struct.unpack(">H", head[4:6])
    return head[12 : 4 + size]


def _from_cr3(source: Source, limits: Limits) -> tuple[str, tagging.Tags, tagging.Directories]:
    """Canon keeps three TIFF files of one directory each: the picture's, EXIF's and GPS's."""
    order, tags = "<", list[tuple[int, int, bytes]]()
    directories: tagging.Directories = {}
    for kind, start, end in header.notes(source):
        limits.check_metadata(end - start)
        tiff = Tiff(Source(source.read(start, end - start)), limits)
        found = tagging.copied_tags(tiff, tiff.page(tiff.first))
        if kind == b"CMT1":
            order, tags = tiff.order, [tag for tag in found if tag[0] in _COPIED]
        elif tiff.order == order:
            directories[tagging.EXIF_IFD if kind == b"CMT2" else tagging.GPS_IFD] = _without_notes(found)
    return order, tags, directories
