"""Random access to a file's bytes, in memory or on disk, with every read checked against the end."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from images.errors import BrokenImage

Input = bytes | bytearray | memoryview | str | os.PathLike[str]


class Source:
    """`read(offset, size)` over bytes or a file; a read past the end raises `BrokenImage`, never returns less."""

    def __init__(self, data: Input) -> None:
        self._file: int | None = None
        self._view: memoryview = memoryview(b"")
        if isinstance(data, bytes | bytearray | memoryview):
            self._view = memoryview(data).cast("B")
            self.size = len(self._view)
        else:
            self._file = os.open(Path(data), os.O_RDONLY | os.O_CLOEXEC)
            self.size = os.fstat(self._file).st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._file is not None:
            os.close(self._file)

    def read(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes at `offset`."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise BrokenImage("The file is cut off or damaged: it points past its own end.")
        if self._file is None:
            return bytes(self._view[offset : offset + size])
        return os.pread(self._file, size, offset)

    def head(self, size: int) -> bytes:
        """The first `size` bytes, or fewer if the file is shorter."""
        return self.read(0, min(size, self.size))

    def unpack(self, layout: str, offset: int) -> tuple[Any, ...]:
        """`struct.unpack(layout)` at `offset`."""
        return struct.unpack(layout, self.read(offset, struct.calcsize(layout)))

    def whole(self) -> bytes | memoryview:
        """All bytes; no copy where the file is already in memory."""
        return self._view if self._file is None else self.read(0, self.size)
