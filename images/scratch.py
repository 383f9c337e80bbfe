"""Room for what would fill memory: arrays and files that live on disk without a name, and vanish when let go."""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from images.limits import MIB

Array = NDArray[Any]
LARGE = 256 * MIB


def file() -> IO[bytes]:
    """An open file in the temporary folder, already unlinked."""
    return tempfile.TemporaryFile()


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """As `np.empty`, but on disk if large: its pages leave memory when others need the room, or on `release`."""
    count = int(np.prod(shape, dtype=np.int64))
    size = count * np.dtype(dtype).itemsize
    if size <= LARGE:
        return np.empty(shape, dtype)
    with file() as backing:
        os.ftruncate(backing.fileno(), size)
        memory = mmap.mmap(backing.fileno(), size)
    return np.frombuffer(memory, dtype, count=count).reshape(shape)


def release(array: Array) -> None:
    """Drop what is in memory of an array that lives in a file; the contents stay. Other arrays are left alone."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    if isinstance(base, mmap.mmap) and len(base) > LARGE:
        base.madvise(mmap.MADV_DONTNEED)
