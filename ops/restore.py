"""Read a backup into an empty system. The file is verified to its end before anything is written."""

from __future__ import annotations

import json
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Engine

from ops import snapshot
from ops.backup import END, FORMAT, BackupBroken, Hashing
from store.blobs import Blobs
from store.errors import StoreError
from store.migrate import upgrade

CHUNK_BYTES = 1 << 20


class NotEmpty(StoreError):
    """Somebody's rows are here already."""

    def __init__(self) -> None:
        super().__init__(
            "This system is in use: it holds rows (jobs, keys, datasets, webhook secrets…), or was migrated past the "
            "backup. Restore into an empty database and blob store (B2S_DATA_DIR, B2S_DATABASE_URL, B2S_BLOB_URL)."
        )


@dataclass(frozen=True)
class Restored:
    """What a restore wrote."""

    at: str
    rows: int
    blobs: int


def read_backup(engine: Engine, blobs: Blobs, path: Path) -> Restored:
    """Restore `path`: the tables at the backup's revision, its rows and blobs, then the newer migrations.

    Raises:
        BackupBroken: the file is damaged, cut short or no backup; nothing was written.
        NotEmpty: somebody works here already.
        StoreError, OSError: it could not be read or written; restore again into an emptied system.
    """
    with path.open("rb") as file:
        return _restore(engine, blobs, file, str(path))


def read_stream(engine: Engine, blobs: Blobs, stream: IO[bytes]) -> Restored:
    """Restore what a pipe brings. A temporary file keeps it, since it is read to its end first. Raises as above."""
    with tempfile.TemporaryFile() as file:
        shutil.copyfileobj(stream, file, CHUNK_BYTES)
        return _restore(engine, blobs, file, "standard input")


def _restore(engine: Engine, blobs: Blobs, file: IO[bytes], name: str) -> Restored:
    end = _verified(file, name)
    upgrade(engine, end["revision"])
    with engine.connect() as connection:
        if snapshot.revision(connection) != end["revision"] or not snapshot.is_empty(connection):
            raise NotEmpty
    count = _put_blobs(blobs, file)
    rows = _load_rows(engine, file)
    upgrade(engine)
    return Restored(end["at"], rows, count)


def _verified(source: IO[bytes], name: str) -> dict[str, Any]:
    """The end of a backup whose every member has the checksum that stands there."""
    found: dict[str, str] = {}
    end: dict[str, Any] | None = None
    try:
        with _tar(source) as tar:
            for member in tar:
                file = tar.extractfile(member)
                if file is None or end is not None:
                    raise BackupBroken(f"{name} holds {member.name}, which no backup has.")
                if member.name == END:
                    end = json.load(file)
                else:
                    found[member.name] = _digest(file)
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise BackupBroken(f"{name} is damaged or cut short ({error}); take another backup.") from error
    if end is None or end.get("format") != FORMAT:
        raise BackupBroken(f"{name} is not a whole backup of format {FORMAT}; take another one.")
    if found != end["sha256"]:
        damaged = sorted(key for key in found.keys() | end["sha256"].keys() if found.get(key) != end["sha256"].get(key))
        raise BackupBroken(f"{name} is damaged at {', '.join(damaged[:3])}; take another backup.")
    return end


def _tar(source: IO[bytes]) -> tarfile.TarFile:
    source.seek(0)
    return tarfile.open(fileobj=source, mode="r:")


def _digest(file: IO[bytes]) -> str:
    hashing = Hashing(file)
    while hashing.read(CHUNK_BYTES):
        pass
    return hashing.hexdigest()


def _put_blobs(blobs: Blobs, source: IO[bytes]) -> int:
    count = 0
    with _tar(source) as tar:
        for member in tar:
            file = tar.extractfile(member)
            if member.name.startswith("blobs/") and file is not None:
                blobs.put(member.name.removeprefix("blobs/"), file)
                count += 1
    return count


def _load_rows(engine: Engine, source: IO[bytes]) -> int:
    """All rows in one transaction: a restore that fails leaves none."""
    count = 0
    with _tar(source) as tar, engine.begin() as connection:
        if not snapshot.is_empty(connection):  # asked again: putting the blobs took its time
            raise NotEmpty
        snapshot.clear_shipped(connection)
        named = set(tar.getnames())
        for table in snapshot.tables():
            name = f"tables/{table.name}.jsonl"
            file = tar.extractfile(name) if name in named else None
            if file is not None:
                count += snapshot.load(connection, table, file)
    return count
