"""Many stored files as one zip or tar, written while it is sent: memory holds one chunk, and the disk nothing."""

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, cast

from store.blobs import Blobs

ZIP, TAR = "application/zip", "application/x-tar"
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every file: the same results are the same bytes."""

_SENT_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Packed:
    """A file to pack: bytes at hand, or under a key. `name` is safe to unpack."""

    name: str
    size: int
    sha256: str
    key: str | None = None
    data: bytes = b""


def pack(blobs: Blobs, files: Sequence[Packed], media_type: str) -> Iterator[bytes]:
    """The archive in chunks. Raises BlobMissing or BlobStoreError where bytes are gone: the transfer breaks off."""
    held: list[bytes] = []
    size = 0
    for piece in _tarred(blobs, files) if media_type == TAR else _zipped(blobs, files):
        held.append(piece)
        size += len(piece)
        if size >= _SENT_BYTES:  # each chunk changes threads, which costs more than to pack a small file
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)


def entity_tag(files: Sequence[Packed], media_type: str) -> str:
    """SHA-256 over names and checksums: what `pack` gives depends on these alone."""
    told = "\n".join([media_type, *(f"{file.sha256} {file.name}" for file in files)])
    return hashlib.sha256(told.encode()).hexdigest()


def safe_names(names: Sequence[str], extensions: Sequence[str]) -> list[str]:
    """Names to unpack under: no way out of the folder, each once, with the extension of the result."""
    taken: set[str] = set()
    safe = []
    for name, extension in zip(names, extensions, strict=True):
        steps = [_step(step) for step in name.replace("\\", "/").split("/") if step not in ("", ".", "..")] or ["image"]
        path = PurePosixPath(*steps)
        stem = path.with_suffix("") if path.suffix else path
        candidate, count = f"{stem}{extension}", 1
        while candidate.lower() in taken:  # on some systems A and a are one
            count += 1
            candidate = f"{stem}-{count}{extension}"
        taken.add(candidate.lower())
        safe.append(candidate)
    return safe


def _step(step: str) -> str:
    return "".join("_" if letter in '<>:"|?*' or not letter.isprintable() else letter for letter in step)


class _Outlet(io.RawIOBase):
    """Where an archive is written to; `taken` gives what came since."""

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # any buffer
        self._held.append(bytes(data))
        self._position += len(self._held[-1])
        return len(self._held[-1])

    def taken(self) -> bytes:
        data, self._held = b"".join(self._held), []
        return data


def _chunks(blobs: Blobs, file: Packed) -> Iterator[bytes]:
    if file.key is None:
        yield file.data
    else:
        yield from blobs.stream(file.key)


def _zipped(blobs: Blobs, files: Sequence[Packed]) -> Iterator[bytes]:
    outlet = _Outlet()
    with zipfile.ZipFile(cast(IO[bytes], outlet), "w", zipfile.ZIP_STORED) as archive:  # images are compressed already
        for file in files:
            entry = zipfile.ZipInfo(file.name, _EPOCH)
            entry.external_attr = 0o644 << 16
            entry.file_size = file.size  # zip64 where it has to be
            with archive.open(entry, "w") as member:
                for chunk in _chunks(blobs, file):
                    member.write(chunk)
                    yield outlet.taken()
    yield outlet.taken()


def _tarred(blobs: Blobs, files: Sequence[Packed]) -> Iterator[bytes]:
    for file in files:
        entry = tarfile.TarInfo(file.name)
        entry.size, entry.mode = file.size, 0o644
        yield entry.tobuf(tarfile.PAX_FORMAT)
        yield from _chunks(blobs, file)
        yield bytes(-file.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)
