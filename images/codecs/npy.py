"""NPY arrays. The result has the same shape, type, byte order and memory order; there is no place for a note."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from images.decoded import Decoded, Metadata
from images.headers import npy as header
from images.info import ImageInfo
from images.limits import Limits
from images.samples import to_working
from images.source import Source

Array = NDArray[Any]


def decode(source: Source, info: ImageInfo, limits: Limits) -> Decoded:
    """Pixels (N, H, W, C), whatever the array's shape."""
    found = header.header(source)
    dtype = np.dtype(found.descr)
    count = int(np.prod(found.shape, dtype=np.int64))
    data = np.frombuffer(source.read(found.offset, count * dtype.itemsize), dtype)
    stored = data.reshape(found.shape, order="F" if found.fortran else "C").reshape(header.layout(found.shape))
    pixels, exact, warnings = to_working(stored)
    native = {"descr": found.descr, "fortran": found.fortran, "shape": found.shape}
    return Decoded(pixels, None, info, Metadata(native=native), warnings, exact=exact)


def encode(stored: Array, metadata: Metadata, info: ImageInfo, note: str | None) -> bytes:
    """An NPY file of the array as it came; from another format (N, H, W, C) without its axes of length one."""
    native = metadata.native if info.format == "npy" else {}
    if "descr" in native and np.dtype(native["descr"]).kind == "b":
        stored = stored > 127
    shape = native.get("shape", ())
    if int(np.prod(shape, dtype=np.int64)) != stored.size or not shape:  # a crop, or a foreign format
        frames, height, width, channels = stored.shape
        shape = (*((frames,) if frames > 1 else ()), height, width, *((channels,) if channels > 1 else ()))
    array = stored.reshape(shape).astype(native.get("descr", stored.dtype.str), copy=False)
    buffer = io.BytesIO()
    np.save(buffer, np.asfortranarray(array) if native.get("fortran") else array, allow_pickle=False)
    return buffer.getvalue()
