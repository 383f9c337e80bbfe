"""Random access to a file's bytes, in memory or on disk, with every read checked against the end and counted."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from images.budget import BYTES_A_STEP, READ_STEPS, Budget
from images.errors import BrokenImage

Input = bytes | bytearray | memoryview | str | os.PathLike[str] | int
"""A file's bytes, its path, or the number of an open descriptor, which stays its owner's."""

_WINDOW = 1 << 16


class Source:
    """`read(offset, size)` over bytes or a file; a read past the end raises `BrokenImage`, never returns less.

    Reads are taken from `budget`; who loops over what was read takes `step`s as well. Without a budget nothing bounds
    them.
    """

    def __init__(self, data: Input, budget: Budget | None = None) -> None:
        self._file: int | None = None
        self._owned = False
        self._view: memoryview = memoryview(b"")
        self._window: tuple[int, bytes] = (0, b"")
        if isinstance(data, bytes | bytearray | memoryview):
            self._view = memoryview(data).cast("B")
            self.size = len(self._view)
        elif isinstance(data, int):
            self._file, self.size = data, os.lseek(data, 0, os.SEEK_END)
        else:
            self._file, self._owned = os.open(Path(data), os.O_RDONLY | os.O_CLOEXEC), True
            self.size = os.fstat(self._file).st_size
        self.budget = budget or Budget()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._file is not None and self._owned:
            os.close(self._file)

    def read(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes at `offset`."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise BrokenImage("The file is cut off or damaged: it points past its own end.")
        self.budget.take(READ_STEPS + size // BYTES_A_STEP)
        if self._file is None:
            return bytes(self._view[offset : offset + size])
        return os.pread(self._file, size, offset)

    def step(self, count: int = 1) -> None:
        """Count `count` turns of a loop over bytes that were read before."""
        self.budget.take(count)

    def window(self, offset: int) -> tuple[int, memoryview | bytes]:
        """(start, bytes) of a piece of the file with `offset` in it, to be indexed byte by byte: no copy in memory."""
        if not 0 <= offset < self.size:
            raise BrokenImage("The file is cut off or damaged: it points past its own end.")
        if self._file is None:
            return 0, self._view
        start, data = self._window
        if not start <= offset < start + len(data):
            start = offset
            self._window = start, self.read(start, min(_WINDOW, self.size - start))
        return self._window

    def head(self, size: int) -> bytes:
        """The first `size` bytes, or fewer if the file is shorter."""
        return self.read(0, min(size, self.size))

    def unpack(self, layout: str, offset: int) -> tuple[Any, ...]:
        """`struct.unpack(layout)` at `offset`."""
        return struct.unpack(layout, self.read(offset, struct.calcsize(layout)))

    def whole(self) -> bytes | memoryview:
        """All bytes; no copy where the file is already in memory."""
        return self._view if self._file is None else self.read(0, self.size)
