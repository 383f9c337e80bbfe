"""Zip and tar archives from strangers, a file at a time: nothing is written under a name that the archive chose.

What is wrong with one member is a verdict on that member; what is wrong with the archive ends it. Everything is counted
while it is unpacked, since an archive's own numbers are the attacker's: bytes, files, and the memory of its directory.
"""

from __future__ import annotations

import gzip
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from images.errors import ArchiveTooLarge, BrokenArchive, ImageError
from images.limits import MIB
from images.probe import sniff_archive
from images.tar_stream import Entry, Forward, Readable
from images.words import plain

__all__ = ["ArchiveLimits", "ArchiveTooLarge", "BrokenArchive", "Member", "members", "unpack_here"]

DIRECTORY_BYTES_A_FILE = 1024
"""Room for a name in a zip's directory. zipfile reads all of that into memory, some 8 bytes for each of it."""

_END_RECORDS = 65_557 + 76 + 20
"""A zip's end record with the longest comment, and those of zip64."""

_ENTRY = b"PK\x01\x02"

_HEAD = 512
_LONGEST_SHOWN = 200

MORE_ENTRIES = 1000
"""Folders and hidden files that an archive may have besides as many of them as there may be files."""


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Bounds of one archive, all inclusive; an error names the setting that was broken.

    `max_file_bytes` bounds one member, `max_bytes` what all members unpack to, `max_files` their number.
    """

    max_files: int
    max_bytes: int
    max_file_bytes: int

    def check_files(self, count: int) -> None:
        if count > self.max_files:
            raise ArchiveTooLarge(
                f"The archive has more than {self.max_files:,} files, as many as B2S_MAX_SET_IMAGES allows. Split it."
            )

    def check_entries(self, count: int) -> None:
        """As `check_files`, for everything that an archive lists."""
        if count > 2 * self.max_files + MORE_ENTRIES:
            self.check_files(count)

    @property
    def directory_bytes(self) -> int:
        """How long a zip's directory may be."""
        return self.max_files * DIRECTORY_BYTES_A_FILE

    def check_bytes(self, size: int) -> None:
        if size > self.max_bytes:
            raise ArchiveTooLarge(
                f"The archive unpacks to more than {self.max_bytes:,} bytes, as many as B2S_MAX_SET_BYTES allows. "
                "Split it."
            )


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive. `refused` says why it was left packed; else its bytes are at the path of `unpack`."""

    name: str
    size: int = 0
    refused: str | None = None


def unpack_here(source: Path, target: Path, limits: ArchiveLimits) -> Iterator[Member]:
    """As `images.unpack.unpack`, in this process: for archives one trusts."""
    with source.open("rb") as file, target.open("wb", buffering=0) as out:
        yield from members(file, out, limits)


def members(file: IO[bytes], out: IO[bytes], limits: ArchiveLimits) -> Iterator[Member]:
    """As `unpack_here`, of open files; `out` begins anew with each member and must not be buffered."""
    kind = sniff_archive(file.read(_HEAD))
    file.seek(0)
    if kind is None:
        raise BrokenArchive("This is not a zip, tar or tar.gz archive.")
    with _translated():
        yield from _zip(file, out, limits) if kind == "zip" else _tar(file, kind, out, limits)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, struct.error) as error:
        raise BrokenArchive("The archive is damaged or cut off; make it anew.") from error
    except (ValueError, ArithmeticError, LookupError, RuntimeError, TypeError, AttributeError) as error:
        if isinstance(error, ImageError):
            raise
        raise BrokenArchive("The archive says things about itself that cannot be true; make it anew.") from error


# ---- zip -------------------------------------------------------------------------------------------------------------


def _zip(file: IO[bytes], out: IO[bytes], limits: ArchiveLimits) -> Iterator[Member]:
    total = 0
    source = _Directory(file, limits)
    with zipfile.ZipFile(source) as archive:
        source.known = True
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        limits.check_files(len(entries))
        for entry in entries:
            if _hidden(entry.filename):
                continue
            reason = _zip_refusal(entry)
            if reason is None:
                reason, size = _copy_zip(archive, entry, out, limits)
                total += size
                limits.check_bytes(total)
            yield Member(_shown(entry.filename), 0 if reason else size, reason)


def _copy_zip(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, out: IO[bytes], limits: ArchiveLimits
) -> tuple[str | None, int]:
    """(why not, bytes unpacked). One damaged member leaves the others readable."""
    try:
        with archive.open(entry) as member:
            return _copy(member, out, limits)
    except (ImageError, MemoryError, OSError):
        raise
    except Exception:  # of zipfile, which has a dozen kinds for what may be wrong with a member
        return "it is damaged inside the archive", 0


def _zip_refusal(entry: zipfile.ZipInfo) -> str | None:
    mode = entry.external_attr >> 16
    if entry.flag_bits & 0x1:
        return "it is encrypted"
    if mode and (mode & 0o170000) not in (0, 0o100000):
        return "it is a link or a device, not a file"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "it is compressed in a way that is not read here; use deflate"
    return _name_refusal(entry.filename)


class _Directory:
    """A zip as zipfile reads it. Whatever the end records say: its directory is bounded where it is read, at once.

    zipfile believes a zip64 record in front of the end record even if that one has no need of it (APPNOTE 4.3.14 to
    4.3.16), and makes an object of every entry before anybody can ask how many there are.
    """

    def __init__(self, file: IO[bytes], limits: ArchiveLimits) -> None:
        self._file = file
        self._limits = limits
        self.known = False
        self.seekable = file.seekable
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int = -1) -> bytes:
        if self.known:  # the directory, that is: now come the files
            return self._file.read(size)
        if size < 0:  # the end records and what follows them: zipfile has gone to their place
            size = _END_RECORDS
        if size > max(self._limits.directory_bytes, _END_RECORDS):
            self._limits.check_files(self._limits.max_files + 1)
        data = self._file.read(size)
        self._limits.check_entries(data.count(_ENTRY))
        return data


# ---- tar -------------------------------------------------------------------------------------------------------------


def _tar(file: IO[bytes], kind: str, out: IO[bytes], limits: ArchiveLimits) -> Iterator[Member]:
    stream: Readable = file if kind == "tar" else gzip.GzipFile(fileobj=file)
    headers = 1024 * limits.max_files
    forward = Forward(stream, lambda position: limits.check_bytes(position - headers))
    files = entries = 0
    with tarfile.TarFile(fileobj=forward, mode="r", tarinfo=Entry) as archive:  # type: ignore[arg-type]  # see Forward
        while (entry := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # it would remember every one of a million
            entries += 1
            files += not entry.isdir()
            limits.check_files(files)
            limits.check_entries(entries)
            sparse = forward.sparse
            if entry.isdir() or _hidden(entry.name):
                forward.begin_member()
                continue
            forward.begin_data()
            reason = _tar_refusal(entry, sparse)
            size = 0
            if reason is None and (member := archive.extractfile(entry)) is not None:
                reason, size = _copy(member, out, limits)
            forward.begin_member()
            yield Member(_shown(entry.name), size, reason)


def _tar_refusal(entry: tarfile.TarInfo, sparse: bool) -> str | None:
    if not entry.isreg() or entry.issparse() or sparse:
        return "it is a link, a device or a sparse file, not a plain one"
    return _name_refusal(entry.name)


# ---- both ------------------------------------------------------------------------------------------------------------


def _copy(member: IO[bytes], out: IO[bytes], limits: ArchiveLimits) -> tuple[str | None, int]:
    """Copy a member's bytes to `out`: (None, how many), or why not and how many were read."""
    head, size = b"", 0
    out.seek(0)
    out.truncate()
    while chunk := member.read(MIB):
        size += len(chunk)
        if size > limits.max_file_bytes:
            return f"it has more than {limits.max_file_bytes:,} bytes (B2S_MAX_UPLOAD_BYTES)", size
        head += chunk[: _HEAD - len(head)]
        left = memoryview(chunk)
        while left:
            left = left[out.write(left) :]
    if sniff_archive(head) is not None:
        return "it is an archive inside of an archive; unpack it", size
    return (None, size) if size else ("it is empty", 0)


def _name_refusal(name: str) -> str | None:
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or (len(name) > 1 and name[1] == ":"):
        return "its name leads out of the archive"
    return None


def _hidden(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return any(part == "__MACOSX" or (part.startswith(".") and part not in (".", "..")) for part in parts)


def _shown(name: str) -> str:
    return plain(name, _LONGEST_SHOWN)
