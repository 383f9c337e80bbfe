"""NPY arrays. The result has the same shape, type, byte order and memory order; there is no place for a note."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from images.decoded import Decoded, Metadata
from images.headers import npy as header
from images.info import ImageInfo
from images.limits import Limits
from images.source import Source
from images.working_stack import Allocate, WorkingStack

Array = NDArray[Any]


def decode(source: Source, info: ImageInfo, limits: Limits) -> Decoded:
    """Pixels (N, H, W, C), whatever the array's shape."""
    return decode_stack(source, info, limits, np.empty)


def decode_stack(source: Source, info: ImageInfo, limits: Limits, allocate: Allocate) -> Decoded:
    """As `decode`, into memory from `allocate`, read page by page if the array lies in C order."""
    found = header.header(source)
    stack = WorkingStack(info.frames, allocate)
    for index, page in enumerate(_pages(source, found)):
        stack.put(index, page, None)
    native = {"descr": found.descr, "type": stack.dtype, "fortran": found.fortran, "shape": found.shape}
    return Decoded(stack.pixels, None, info, Metadata(native=native), stack.warnings, exact=stack.exact)


def _pages(source: Source, found: header.Header) -> Iterator[Array]:
    """(H, W, C) as stored, one after the other; in Fortran order a page's samples lie everywhere, so all are read."""
    dtype = np.dtype(found.descr)
    frames, height, width, channels = header.layout(found.shape)
    size = height * width * channels * dtype.itemsize
    if found.fortran:
        data = np.frombuffer(source.read(found.offset, frames * size), dtype)
        yield from data.reshape(found.shape, order="F").reshape(frames, height, width, channels)
        return
    for index in range(frames):
        page = np.frombuffer(source.read(found.offset + index * size, size), dtype)
        yield page.reshape(height, width, channels)


def write(
    file: IO[bytes], pages: Iterable[Array], size: int, metadata: Metadata, info: ImageInfo, note: str | None
) -> None:
    """Pages (H, W, C) as an NPY file of the shape that came in; a Fortran array is put together first.

    From another format the array is (N, H, W, C) without its axes of length one.
    """
    native = metadata.native if info.format == "npy" else {}
    coming = iter(pages)
    first = next(coming)
    if native and first.dtype.name != native["type"]:  # another sample type was asked for
        native = native | {"descr": first.dtype.str}
    dtype = np.dtype(native.get("descr", first.dtype.str))
    shape = native.get("shape", ())
    if int(np.prod(shape, dtype=np.int64)) != info.frames * first.size or not shape:  # a crop, or a foreign format
        height, width, channels = first.shape
        shape = (*((info.frames,) if info.frames > 1 else ()), height, width, *((channels,) if channels > 1 else ()))
    typed = (_typed(page, dtype) for page in chain([first], coming))
    if native.get("fortran"):
        whole = np.stack(list(typed)).astype(dtype, copy=False)  # stacking turns bytes into this machine's order
        np.save(file, np.asfortranarray(whole.reshape(shape)), allow_pickle=False)
        return
    about = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, about)
    for page in typed:
        file.write(np.ascontiguousarray(page).data)


def _typed(page: Array, dtype: np.dtype[Any]) -> Array:
    return page > 127 if dtype.kind == "b" else page.astype(dtype, copy=False)
