"""`python -m ops backup FILE` and `python -m ops restore FILE`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ops.backup import write_backup
from ops.desk import open_store
from ops.restore import read_backup
from store.blobs import Blobs
from store.database import connect
from store.settings import load_settings


def backup(path: Annotated[Path, typer.Argument(help="The file to write: a tar, readable by its owner only.")]) -> None:
    """Write database and blobs into one file, while the service runs."""
    settings, engine = open_store()
    written = write_backup(engine, Blobs(settings.blobs), path)
    rows = sum(written.rows.values())
    print(f"{path}: {rows:,} rows, {written.blobs:,} blobs of {written.bytes:,} bytes. It holds secrets: keep it so.")


def restore(path: Annotated[Path, typer.Argument(help="A file that `backup` wrote.", exists=True)]) -> None:
    """Read a backup into an empty database and blob store; then start the service."""
    settings = load_settings()
    if settings.database.startswith("sqlite"):
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    restored = read_backup(connect(settings.database), Blobs(settings.blobs), path)
    print(f"{restored.rows:,} rows and {restored.blobs:,} blobs of {restored.at} are back.")
