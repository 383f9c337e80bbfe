"""NPY headers. Source: numpy.lib.format, versions 1.0-3.0. The header is a Python literal, read as one, never run."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from images.errors import BrokenImage, UnsupportedFormat
from images.info import ImageInfo
from images.limits import Limits
from images.source import Source

SIGNATURE = b"\x93NUMPY"
_MAX_HEADER = 10_000  # numpy's own bound
_STEPS_A_BYTE = 10  # of a literal made of brackets and signs alone
_KINDS = {"b1": "uint8", "u1": "uint8", "i1": "int8", "u2": "uint16", "i2": "int16", "u4": "uint32", "i4": "int32"}
_KINDS |= {"u8": "uint64", "i8": "int64", "f2": "float16", "f4": "float32", "f8": "float64"}


@dataclass(frozen=True, slots=True)
class Header:
    """An array's description and where its data starts."""

    descr: str
    fortran: bool
    shape: tuple[int, ...]
    offset: int


def header(source: Source) -> Header:
    """The array header, checked for type."""
    major = source.unpack("B", 6)[0]
    layout, start = ("<H", 10) if major == 1 else ("<I", 12)
    if major not in (1, 2, 3):
        raise UnsupportedFormat("This NPY file is of a version that is not read; save it with a current NumPy.")
    (size,) = source.unpack(layout, 8)
    if size > _MAX_HEADER:
        raise BrokenImage("The NPY header is longer than any real one.")
    source.step(_STEPS_A_BYTE * size)
    try:
        fields = ast.literal_eval(source.read(start, size).decode("utf-8").strip())
        descr, fortran, shape = fields["descr"], fields["fortran_order"], fields["shape"]
    except (ValueError, SyntaxError, KeyError, TypeError, MemoryError, RecursionError) as error:
        raise BrokenImage("The NPY header is damaged.") from error
    if not isinstance(descr, str) or not isinstance(shape, tuple) or not all(type(n) is int and n > 0 for n in shape):
        raise UnsupportedFormat("The NPY file holds records or an empty array, not an image.")
    return Header(descr, bool(fortran), shape, start + size)


def layout(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """(N, H, W, C) of an array's shape: (H, W), (H, W, C <= 4), (N, H, W) or (N, H, W, C)."""
    if len(shape) == 2:
        return 1, shape[0], shape[1], 1
    if len(shape) == 3 and shape[2] <= 4:
        return 1, shape[0], shape[1], shape[2]
    if len(shape) == 3:
        return shape[0], shape[1], shape[2], 1
    if len(shape) == 4:
        return shape[0], shape[1], shape[2], shape[3]
    raise UnsupportedFormat(f"The NPY array has {len(shape)} axes; send (H, W), (H, W, C), (N, H, W) or (N, H, W, C).")


def read(source: Source, limits: Limits) -> ImageInfo:
    """Facts from the array header; the data must be as long as it says."""
    found = header(source)
    dtype = _KINDS.get(found.descr[1:]) if found.descr[:1] in "<>|=" else None
    if dtype is None:
        raise UnsupportedFormat(
            f"The NPY array is of type {found.descr[:20]!r}; send integers of 8 to 64 bit or floats of 16 to 64."
        )
    frames, height, width, channels = layout(found.shape)
    info = ImageInfo("npy", width, height, channels, dtype, frames, bits=8 * int(found.descr[2:]))
    if found.fortran:
        limits.check_at_once(info, "in Fortran order it is read at once")
    if found.offset + info.pixels * channels * int(found.descr[2:]) > source.size:
        raise BrokenImage("The NPY file is cut off: the array is shorter than its header says.")
    return info
