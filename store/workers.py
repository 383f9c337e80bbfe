"""Which hosts take denoise jobs, and what their networks run on: what `B2S_QUALITY=auto` goes by."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from store.database import from_now, single
from store.schema import workers

MATRIX_UNITS = ("cuda-float16", "onednn-bfloat16")
"""Backends of networks on which the larger networks cost little."""

SEEN_SECONDS = 300.0
"""A host that was not seen for so long takes no jobs; an update of all workers is over sooner."""

FORGOTTEN_SECONDS = 86_400.0
REMEMBER_SECONDS = 1.0

c = workers.c


class Workers:
    """Reads and changes the hosts. Every call is synchronous and safe from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._told = (float("-inf"), False)

    def register(self, host: str, backend: str) -> None:
        """A host begins to take jobs; `backend` is what its networks run on."""
        values = {"host": host, "backend": backend, "seen_at": from_now()}
        try:
            self._put(values)
        except IntegrityError:  # another process of this host was faster: now its row is there
            self._put(values)

    def seen(self, host: str) -> None:
        """The host is still there. Hosts that have not been for a day are forgotten."""
        with self._engine.begin() as connection:
            connection.execute(update(workers).where(c.host == host).values(seen_at=from_now()))
            connection.execute(delete(workers).where(c.seen_at < from_now(-FORGOTTEN_SECONDS)))

    def _put(self, values: Mapping[str, Any]) -> None:
        with self._engine.begin() as connection:
            known = connection.execute(update(workers).where(c.host == values["host"]).values(values).returning(c.host))
            if known.first() is None:
                connection.execute(insert(workers).values(values))

    def have_matrix_units(self) -> bool:
        """Whether there are hosts, and all of them run networks on matrix units. Asked for at most once a second."""
        read_at, told = self._told
        if time.monotonic() - read_at > REMEMBER_SECONDS:
            with_them = func.count().filter(c.backend.in_(MATRIX_UNITS))
            query = select(func.count(), with_them).where(c.seen_at > from_now(-SEEN_SECONDS))
            with single(self._engine) as connection:
                hosts, able = connection.execute(query).one()
            told = hosts == able > 0
            self._told = (time.monotonic(), told)
        return told
