"""What the commands share: the store's engine, and a table on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, inspect

from store.database import connect
from store.errors import SettingsError
from store.private import private_folder
from store.settings import Settings, load_settings


def open_store() -> tuple[Settings, Engine]:
    """Settings and engine.

    Raises:
        SettingsError: a setting cannot work, or the database has no tables yet.
    """
    settings = load_settings()
    if settings.database.startswith("sqlite"):
        private_folder(settings.data_dir)
    engine = connect(settings.database)
    if not inspect(engine).has_table("keys"):
        raise SettingsError("The database has no tables for this yet: run `python -m store.migrate` first.")
    return settings, engine


def show(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; without a terminal tab-separated lines, for other programs."""
    if not sys.stdout.isatty():
        for row in [columns, *rows]:
            print("\t".join(map(str, row)))
        return
    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*map(str, row))
    Console().print(table)
