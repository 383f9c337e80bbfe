"""Read a backup into an empty system. The file is verified to its end before anything is written."""

from __future__ import annotations

import json
import tarfile
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
    end = _verified(path)
    upgrade(engine, end["revision"])
    with engine.connect() as connection:
        if snapshot.revision(connection) != end["revision"] or not snapshot.is_empty(connection):
            raise NotEmpty
    count = _put_blobs(blobs, path)
    rows = _load_rows(engine, path)
    upgrade(engine)
    return Restored(end["at"], rows, count)


def _verified(path: Path) -> dict[str, Any]:
    """The end of a backup whose every member has the checksum that stands there."""
    found: dict[str, str] = {}
    end: dict[str, Any] | None = None
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                file = tar.extractfile(member)
                if file is None or end is not None:
                    raise BackupBroken(f"{path} holds {member.name}, which no backup has.")
                if member.name == END:
                    end = json.load(file)
                else:
                    found[member.name] = _digest(file)
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise BackupBroken(f"{path} is damaged or cut short ({error}); take another backup.") from error
    if end is None or end.get("format") != FORMAT:
        raise BackupBroken(f"{path} is not a whole backup of format {FORMAT}; take another one.")
    if found != end["sha256"]:
        damaged = sorted(
            name for name in found.keys() | end["sha256"].keys() if found.get(name) != end["sha256"].get(name)
        )
        raise BackupBroken(f"{path} is damaged at {', '.join(damaged[:3])}; take another backup.")
    return end


def _digest(file: IO[bytes]) -> str:
    hashing = Hashing(file)
    while hashing.read(CHUNK_BYTES):
        pass
    return hashing.hexdigest()


def _put_blobs(blobs: Blobs, path: Path) -> int:
    count = 0
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            file = tar.extractfile(member)
            if member.name.startswith("blobs/") and file is not None:
                blobs.put(member.name.removeprefix("blobs/"), file)
                count += 1
    return count


def _load_rows(engine: Engine, path: Path) -> int:
    """All rows in one transaction: a restore that fails leaves none."""
    count = 0
    with tarfile.open(path, "r:") as tar, engine.begin() as connection:
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
