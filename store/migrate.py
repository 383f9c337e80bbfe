"""Bring a database to the newest revision: `python -m store.migrate`, or `upgrade(engine)`. Forwards only."""

from __future__ import annotations

import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, text

from store.database import connect
from store.errors import StoreError
from store.private import private_folder, write_privately
from store.settings import load_settings

_LOCK = 0x6232_735F_6D69_6772  # any number that no other program locks: "b2s_migr"


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Run the missing revisions. Several processes may call it at once; one works, the others wait."""
    with engine.begin() as connection:  # SQLite: BEGIN IMMEDIATE lets one in
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        command.upgrade(configuration(connection), revision)


def configuration(connection: Connection) -> Config:
    """Alembic's configuration for one open connection."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def main() -> int:
    write_privately()
    try:
        settings = load_settings()
        if settings.database.startswith("sqlite"):
            private_folder(settings.data_dir)
        upgrade(connect(settings.database))
    except (StoreError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
