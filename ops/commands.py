"""`python -m ops backup FILE` and `python -m ops restore FILE`; `-` is standard output and standard input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Engine

from ops.backup import Written, stream_backup, write_backup
from ops.console import open_store
from ops.restore import read_backup, read_stream
from store.blobs import Blobs
from store.database import connect
from store.errors import StoreError
from store.private import private_folder
from store.settings import load_settings

PIPE = Path("-")


def backup(
    path: Annotated[Path, typer.Argument(help="The file to write: a tar, readable by its owner only; - for a pipe.")],
) -> None:
    """Write database and blobs into one file, while the service runs."""
    if path == PIPE and sys.stdout.isatty():
        raise StoreError("A backup is no text for a terminal: send it into a file, (umask 077; … backup - > b2s.tar)")
    settings, engine = open_store()
    blobs = Blobs(settings.blobs)
    written = _into_pipe(engine, blobs) if path == PIPE else write_backup(engine, blobs, path)
    name = "standard output" if path == PIPE else path
    rows = sum(written.rows.values())
    print(
        f"{name}: {rows:,} rows, {written.blobs:,} blobs of {written.bytes:,} bytes. It holds secrets: keep it so.",
        file=sys.stderr if path == PIPE else sys.stdout,
    )


def restore(
    path: Annotated[Path, typer.Argument(help="A file that `backup` wrote; - for a pipe.")],
) -> None:
    """Read a backup into an empty database and blob store; then start the service."""
    if path == PIPE and sys.stdin.isatty():
        raise StoreError("There is no backup on a terminal: give the file, … restore - < b2s.tar")
    settings = load_settings()
    if settings.database.startswith("sqlite"):
        private_folder(settings.data_dir)
    engine, blobs = connect(settings.database), Blobs(settings.blobs)
    restored = read_stream(engine, blobs, sys.stdin.buffer) if path == PIPE else read_backup(engine, blobs, path)
    print(f"{restored.rows:,} rows and {restored.blobs:,} blobs of {restored.at} are back.")


def _into_pipe(engine: Engine, blobs: Blobs) -> Written:
    try:
        with open(sys.stdout.fileno(), "wb", closefd=False) as pipe:
            return stream_backup(engine, blobs, pipe)
    except BrokenPipeError:  # typer would end without a word
        raise StoreError("Standard output was closed before the backup was whole.") from None
