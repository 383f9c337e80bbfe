"""Write everything into one tar file, while the service runs: rows as JSON lines, blobs as they are, checksums last.

tables/<name>.jsonl    the rows, all from one moment
blobs/<key>            the bytes; what was made after that moment does no harm: the sweep removes what no row names
end.json               revision, time, counts, and the SHA-256 of every member: without it the file is not whole

The same file restores into SQLite or PostgreSQL, a folder or a bucket.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Engine

from ops import snapshot
from store.blobs import BlobInfo, Blobs
from store.errors import BlobMissing, BlobStoreError, StoreError

FORMAT = 1
END = "end.json"


@dataclass
class Written:
    """What a backup holds: rows by table, blobs and their bytes."""

    rows: dict[str, int] = field(default_factory=dict)
    blobs: int = 0
    bytes: int = 0


def write_backup(engine: Engine, blobs: Blobs, path: Path) -> Written:
    """Back up to `path`, which appears only once it is whole; readable by its owner alone, since it holds secrets.

    Raises:
        StoreError, OSError: it could not be written; nothing is left.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent or Path())  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            written = stream_backup(engine, blobs, file)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return written


def stream_backup(engine: Engine, blobs: Blobs, file: IO[bytes]) -> Written:
    """Back up to an open file, which may be a pipe. What a failure leaves in it has no end: no restore takes it.

    Raises:
        StoreError, OSError: it could not be written.
    """
    written, sums = Written(), dict[str, str]()
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        with snapshot.reading(engine) as connection:
            revision = snapshot.revision(connection)
            for table in snapshot.tables():
                with tempfile.TemporaryFile() as spool:
                    written.rows[table.name] = _spool(snapshot.lines(connection, table), spool)
                    sums[f"tables/{table.name}.jsonl"] = _add(tar, f"tables/{table.name}.jsonl", spool, spool.tell())
        for blob in blobs.below(""):
            digest = _add_blob(tar, blobs, blob)
            if digest is not None:
                sums[f"blobs/{blob.key}"] = digest
                written.blobs, written.bytes = written.blobs + 1, written.bytes + blob.size
        end: dict[str, Any] = {"format": FORMAT, "revision": revision, "at": datetime.now(UTC).isoformat()}
        data = json.dumps(end | {"rows": written.rows, "sha256": sums}).encode()
        _add(tar, END, io.BytesIO(data), len(data))
    return written


def _spool(lines: Iterable[bytes], spool: IO[bytes]) -> int:
    count = 0
    for line in lines:
        spool.write(line)
        count += 1
    return count


def _add(tar: tarfile.TarFile, name: str, source: IO[bytes], size: int) -> str:
    """Add the first `size` bytes of a file; their SHA-256."""
    source.seek(0)
    hashing = Hashing(source)
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    tar.addfile(member, hashing)
    return hashing.hexdigest()


def _add_blob(tar: tarfile.TarFile, blobs: Blobs, blob: BlobInfo) -> str | None:
    """Add one blob; None: it was deleted meanwhile."""
    stream = blobs.stream(blob.key)
    try:
        first = next(stream, b"")
    except BlobMissing:
        return None
    hashing = Hashing(_Chunks(first, stream))
    member = tarfile.TarInfo(f"blobs/{blob.key}")
    member.size, member.mode = blob.size, 0o600
    try:
        tar.addfile(member, hashing)
    except (OSError, BlobMissing) as error:  # half of it is in the file: the file is lost
        raise BlobStoreError(f"{blob.key} was deleted while it was read; run the backup again.") from error
    return hashing.hexdigest()


class Hashing(io.RawIOBase):
    """A reader that remembers the SHA-256 of what went through."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._sha256 = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._source.read(size)
        self._sha256.update(data)
        return data

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()


class _Chunks:
    """Chunks as a file to read from."""

    def __init__(self, first: bytes, rest: Iterator[bytes]) -> None:
        self._buffer = first
        self._rest = rest

    def read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            chunk = next(self._rest, None)
            if chunk is None:
                break
            self._buffer += chunk
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data


class BackupBroken(StoreError):
    """The file is no backup of ours, or not whole."""
