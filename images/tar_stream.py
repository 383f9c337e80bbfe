"""What tarfile reads a stranger's archive through: a stream that only goes forward, and headers cut to what is needed.

tarfile keeps all values of all global headers, builds one key out of every byte of a malformed record (pax headers of
4 MB become gigabytes), searches headers with patterns of quadratic cost, and recurses once a header. So each header is
read here first, within bounds, and of pax only the records that say where a file is and what it is called are left.
Source: POSIX.1-2017, pax, "pax Interchange Format"; GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from typing import Protocol

from images.errors import BrokenArchive
from images.limits import MIB

HEADER_BYTES = 1 * MIB
"""All headers of one member: names, times, and the attributes that macOS and ACLs add."""

HEADERS = 16
"""Headers in front of one member; real ones have up to four."""

LONGEST_NAME = 4096
_SIZE_DIGITS = 19
_UNREADABLE = "The archive has a header that cannot be read: it is damaged. Make it anew."
_SPARSE = b"GNU.sparse."
_PAX = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_LONG = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)


class Readable(Protocol):
    """A binary stream."""

    def read(self, size: int, /) -> bytes: ...


class Forward:
    """The stream as tarfile wants it: bytes of headers bounded for each member, all bytes by `check(position)`.

    Attributes:
        sparse: whether the member that was begun last is said to be sparse.
    """

    def __init__(self, stream: Readable, check: Callable[[int], None]) -> None:
        self._stream = stream
        self._check = check
        self._position = 0
        self._cut = b""
        self._headers = 0
        self._header_bytes: int | None = 0
        self.sparse = False

    def begin_member(self) -> None:
        """What is read from here on are headers."""
        self._headers = self._header_bytes = 0
        self.sparse = False

    def begin_data(self) -> None:
        """What is read from here on is a file."""
        self._header_bytes = None

    def begin_header(self) -> None:
        """Count one header more of this member. Raises `BrokenArchive`."""
        self._headers += 1
        if self._headers > HEADERS:
            raise BrokenArchive("The archive has more headers in front of a file than any real one: make it anew.")

    def put_back(self, data: bytes) -> None:
        """Let `data` be what is read next, in place of bytes that were read."""
        self._cut = data

    def read(self, size: int) -> bytes:
        """Up to `size` bytes. Raises `BrokenArchive` for more of headers than a member may have."""
        if self._cut:
            data, self._cut = self._cut[:size], self._cut[size:]
            return data
        if self._header_bytes is not None:
            self._header_bytes += size
            if self._header_bytes > HEADER_BYTES:
                raise BrokenArchive("The archive has a header that would fill the memory: it is built to do harm.")
        return self._pull(size)

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> int:
        """Go on to `position`."""
        if position < self._position:
            raise BrokenArchive("The archive leads back into itself: it is damaged or built to do harm.")
        while self._position < position:
            if not self._pull(min(position - self._position, MIB)):
                break
        return self._position

    def _pull(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._position += len(data)
        self._check(self._position)
        return data


class Entry(tarfile.TarInfo):
    """A member whose headers are looked at before tarfile reads them; it calls this hook for each header."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        stream = archive.fileobj
        assert isinstance(stream, Forward)
        stream.begin_header()
        if self.type in _LONG and self.size > LONGEST_NAME:
            raise BrokenArchive("The archive has a name longer than any system takes: make it anew.")
        path = self._cut_pax(stream) if self.type in _PAX else None
        found: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]  # the documented hook
        if path is not None:
            found.name = path.decode("utf-8", "surrogateescape").rstrip("/")
        return found

    def _cut_pax(self, stream: Forward) -> bytes | None:
        """Leave tarfile nothing of a pax header but the file's size; the path, if there is one."""
        found: dict[bytes, bytes] = {}
        for key, value in records(stream.read(_blocks(self.size))[: self.size]):
            stream.sparse |= key.startswith(_SPARSE)
            if key in (b"path", b"size"):
                found[key] = value
        path, size = found.get(b"path"), found.get(b"size", b"")
        if len(path or b"") > LONGEST_NAME:
            raise BrokenArchive("The archive has a name longer than any system takes: make it anew.")
        if self.type == tarfile.XGLTYPE:  # for all files that follow: no name, no size
            path, size = None, b""
        if size and not (size.isdigit() and len(size) <= _SIZE_DIGITS):
            raise BrokenArchive(_UNREADABLE)
        kept = b"%d size=%s\n" % (len(size) + 9, size) if size else b""
        self.size = len(kept)
        stream.put_back(kept.ljust(_blocks(len(kept)), b"\0"))
        return path


def _blocks(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def records(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of the records of a pax header; raises `BrokenArchive` for one that is none."""
    at = 0
    while at < len(body):
        length, space, _ = body[at : at + 9].partition(b" ")
        if not space or not length.isdigit():
            raise BrokenArchive(_UNREADABLE)
        record = body[at : at + int(length)]
        key, equals, value = record[len(length) + 1 :].partition(b"=")
        if len(record) < int(length) or not equals or not value.endswith(b"\n"):
            raise BrokenArchive(_UNREADABLE)
        yield key, value[:-1]
        at += len(record)
