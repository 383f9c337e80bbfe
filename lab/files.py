"""Image files on disk, through `images/`: in with all they hold, out in the format that the name asks for.

The decoder runs in a helper process (`images.sandbox`), so a broken file costs itself and not a night's training.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from images.decode import Decoded, decode
from images.encode import encode_to, lost
from images.errors import ImageError, UnsupportedFormat
from images.formats import FORMATS, header_of
from images.limits import GIB, Limits

Pixels = NDArray[Any]

OWN_FILES = Limits(
    max_bytes=1024 * GIB, max_pixels=1 << 32, max_side=1 << 24, max_frames=1 << 24, max_decoded_bytes=1024 * GIB,
    max_metadata_bytes=GIB,
)  # fmt: skip
"""Bounds for files of one's own: what their headers claim is believed, as far as the disk goes."""

_ALIASES = {".jpeg": "jpeg", ".tiff": "tiff", ".fit": "fits", ".fts": "fits", ".heif": "heic"}
FORMAT_OF = {row.extension: name for name, row in FORMATS.items()} | _ALIASES
_HEAD = 132  # bytes that tell a format


class NoImages(ImageError):
    """A folder holds no image that can be read."""


def image_files(folder: Path) -> list[Path]:
    """Files of a folder that are images by their name or by how they begin, sorted by name.

    Raises:
        NoImages: the folder has none.
    """
    files = sorted(path for path in folder.iterdir() if _is_image(path)) if folder.is_dir() else []
    if not files:
        raise NoImages(f"{folder}: no image files in this folder")
    return files


def _is_image(path: Path) -> bool:
    if path.name.startswith(".") or not path.is_file():
        return False
    if path.suffix.lower() in FORMAT_OF:
        return True
    with path.open("rb") as file:
        return header_of(file.read(_HEAD)) is not None


def read(path: Path) -> Decoded:
    """The image in a file of any format of `images/`.

    Raises:
        ImageError: it cannot be read; the text names the file.
        OSError: nor opened.
    """
    try:
        return decode(path, OWN_FILES)
    except ImageError as error:
        raise type(error)(f"{path.name}: {error}") from error


def pages(path: Path) -> Pixels:
    """Pixels (N, H, W, C) in the file's own sample type, without alpha; palettes are expanded.

    Raises:
        ImageError, OSError: as `read`.
    """
    decoded = read(path)
    return decoded.restore(decoded.pixels)


def page(path: Path) -> Pixels:
    """As `pages`, (H, W, C), of a file that holds one.

    Raises:
        UnsupportedFormat: it holds several.
        ImageError, OSError: as `read`.
    """
    found: Pixels
    found, *more = pages(path)
    if more:
        raise UnsupportedFormat(f"{path.name} holds {1 + len(more)} pages: save each as a file")
    return found


def write(path: Path, decoded: Decoded, pixels: Pixels, note: str | None = None) -> tuple[str, ...]:
    """A file like the one that `decoded` came from, with other `pixels` of the same shape and type.

    The name's ending chooses the format; the own one where there is none. The file appears whole or not at all.

    Returns:
        Warnings about what the file had and the result has not.

    Raises:
        UnsupportedFormat: the format cannot hold the image without loss.
    """
    suffix = path.suffix.lower()
    if suffix and suffix not in FORMAT_OF:
        written = ", ".join(row.extension for row in FORMATS.values() if row.dtypes)
        raise UnsupportedFormat(f"{path.name}: {suffix} names no image format; use one of {written}")
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("w+b") as file:
            encode_to(file, decoded, pixels, FORMAT_OF.get(suffix), note=note)
        part.replace(path)
    except UnsupportedFormat as error:
        raise UnsupportedFormat(
            f"{path.name}: {error} (The name's ending is the output format: .tif for tiff.)"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return lost(decoded, FORMAT_OF.get(suffix))


def name_of_result(path: Path, decoded: Decoded) -> str:
    """The file's own name, with another ending where its format is only read, or cannot hold the result."""
    named, info = FORMAT_OF.get(path.suffix.lower()), decoded.info
    kept = info.result_format if named in (None, info.format) else named
    return path.name if kept == named and FORMATS[kept].dtypes else path.stem + FORMATS[info.result_format].extension
