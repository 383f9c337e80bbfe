"""Zip and tar archives from strangers, a file at a time: nothing is written under a name that the archive chose.

What is wrong with one member is a verdict on that member; what is wrong with the archive ends it. Everything is counted
while it is unpacked, since an archive's own numbers are the attacker's: bytes, files, and the memory of its directory.
"""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from images.errors import ImageError
from images.limits import MIB
from images.probe import sniff_archive

DIRECTORY_BYTES_A_FILE = 1024
"""Room for a name in a zip's directory. zipfile reads all of that into memory, some 8 bytes for each of it."""

LARGEST_READ = 4 * MIB
"""Nothing but a header made to fill memory asks for more at once: files are copied a megabyte at a time."""


class BrokenArchive(ImageError):
    """Not a zip or tar, damaged, or made to do harm."""

    code = "broken_archive"


class ArchiveTooLarge(ImageError):
    """It unpacks to more than is taken; the text names the setting."""

    code = "archive_too_large"


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


def unpack(source: Path, target: Path, limits: ArchiveLimits) -> Iterator[Member]:
    """Each file of the archive at `source`, in order: its bytes lie at `target` until the next one is asked for.

    Folders and hidden files (`.DS_Store`, `__MACOSX/…`) are passed over in silence.

    Raises:
        BrokenArchive, ArchiveTooLarge: no further member can be had.
    """
    with source.open("rb") as file:
        kind = sniff_archive(file.read(512))
        file.seek(0)
        if kind is None:
            raise BrokenArchive("This is not a zip, tar or tar.gz archive.")
        members = _zip(file, target, limits) if kind == "zip" else _tar(file, kind, target, limits)
        with _translated():
            yield from members


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, struct.error) as error:
        raise BrokenArchive("The archive is damaged or cut off; make it anew.") from error
    except (ValueError, OverflowError, NotImplementedError, UnicodeError) as error:
        if isinstance(error, ImageError):
            raise
        raise BrokenArchive("The archive says things about itself that cannot be true; make it anew.") from error


# ---- zip -------------------------------------------------------------------------------------------------------------


def _zip(file: IO[bytes], target: Path, limits: ArchiveLimits) -> Iterator[Member]:
    if _directory_bytes(file) > limits.max_files * DIRECTORY_BYTES_A_FILE:
        limits.check_files(limits.max_files + 1)
    total = 0
    with zipfile.ZipFile(file) as archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        limits.check_files(len(entries))
        for entry in entries:
            if _hidden(entry.filename):
                continue
            reason = _zip_refusal(entry)
            if reason is None:
                reason, size = _copy_zip(archive, entry, target, limits)
                total += size
                limits.check_bytes(total)
            yield Member(_shown(entry.filename), 0 if reason else size, reason)


def _copy_zip(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, limits: ArchiveLimits
) -> tuple[str | None, int]:
    """(why not, bytes unpacked). One damaged member leaves the others readable."""
    try:
        with archive.open(entry) as member:
            return _copy(member, target, limits)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
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


def _directory_bytes(file: IO[bytes]) -> int:
    """Size of a zip's central directory as its end record says (APPNOTE 4.3.16; 4.3.14 for zip64)."""
    size = file.seek(0, io.SEEK_END)
    tail_start = max(0, size - 65_557)  # the record, behind it a comment of up to 65,535 bytes
    file.seek(tail_start)
    tail = file.read()
    file.seek(0)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        raise BrokenArchive("The zip is cut off: its directory is missing. Send it again.")
    (directory,) = struct.unpack_from("<L", tail, at + 12)
    if directory == 0xFFFFFFFF:
        wide = tail.rfind(b"PK\x06\x06", 0, at)
        if wide < 0:
            raise BrokenArchive("The zip is damaged: its directory is missing. Make it anew.")
        (directory,) = struct.unpack_from("<Q", tail, wide + 40)
    return int(directory)


# ---- tar -------------------------------------------------------------------------------------------------------------


def _tar(file: IO[bytes], kind: str, target: Path, limits: ArchiveLimits) -> Iterator[Member]:
    stream: _Readable = file if kind == "tar" else gzip.GzipFile(fileobj=file)
    forward = _Forward(stream, limits)
    files = 0
    with tarfile.TarFile(fileobj=forward, mode="r") as archive:  # type: ignore[arg-type]  # reads, seeks and tells
        while (entry := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # it would remember every one of a million
            files += not entry.isdir()
            limits.check_files(files)
            if entry.isdir() or _hidden(entry.name):
                continue
            reason = _tar_refusal(entry)
            size = 0
            if reason is None and (member := archive.extractfile(entry)) is not None:
                reason, size = _copy(member, target, limits)
            yield Member(_shown(entry.name), size, reason)


def _tar_refusal(entry: tarfile.TarInfo) -> str | None:
    if not entry.isreg() or entry.issparse():
        return "it is a link, a device or a sparse file, not a plain one"
    return _name_refusal(entry.name)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Forward:
    """A stream that only goes forward, as tarfile wants it: no large read, no more bytes in all than the limits say."""

    def __init__(self, stream: _Readable, limits: ArchiveLimits) -> None:
        self._stream = stream
        self._limits = limits
        self._position = 0

    def read(self, size: int) -> bytes:
        if size > LARGEST_READ:
            raise BrokenArchive("The archive has a header that would fill the memory: it is built to do harm.")
        data = self._stream.read(size)
        self._position += len(data)
        headers = 1024 * self._limits.max_files
        self._limits.check_bytes(self._position - headers)
        return data

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> int:
        if position < self._position:
            raise BrokenArchive("The archive leads back into itself: it is damaged or built to do harm.")
        while self._position < position:
            if not self.read(min(position - self._position, MIB)):
                break
        return self._position


# ---- both ------------------------------------------------------------------------------------------------------------


def _copy(member: IO[bytes], target: Path, limits: ArchiveLimits) -> tuple[str | None, int]:
    """Copy a member's bytes to `target`: (None, how many), or why not and how many were read."""
    size = 0
    with target.open("wb") as out:
        while chunk := member.read(MIB):
            size += len(chunk)
            if size > limits.max_file_bytes:
                return f"it has more than {limits.max_file_bytes:,} bytes (B2S_MAX_UPLOAD_BYTES)", size
            out.write(chunk)
    with target.open("rb") as copied:
        if sniff_archive(copied.read(512)) is not None:
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
    """The name as it may be shown: no control characters, not endlessly long."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)[:200]
