"""Tenants: whom jobs, models, sets and keys belong to, and how much each may use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Engine, RowMapping, insert, select, update
from sqlalchemy.exc import IntegrityError

from store.database import from_now, single
from store.errors import StoreError
from store.schema import tenants

c = tenants.c
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class TenantNotFound(StoreError):
    """No tenant has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no tenant {name}; `make key TENANT={name}` makes it and a key for it.")


@dataclass(frozen=True)
class Allowance:
    """How much a tenant may use; None: no bound.

    Attributes:
        requests_per_minute: counted by each gateway process for itself.
        unfinished_jobs: jobs queued or running at a time.
        pixels_per_day: pixels (width × height × frames) of the jobs accepted in a day, UTC.
        stored_bytes: uploads, results, datasets and models at a time, as `store.stored` adds them up.
    """

    requests_per_minute: int | None = None
    unfinished_jobs: int | None = None
    pixels_per_day: int | None = None
    stored_bytes: int | None = None

    @classmethod
    def columns(cls) -> list[Column[Any]]:
        return [c[name] for name in cls.__dataclass_fields__]

    @classmethod
    def from_row(cls, row: RowMapping) -> Allowance:
        return cls(**{name: row[name] for name in cls.__dataclass_fields__})


class Tenants:
    """Reads and changes tenants. Every call is synchronous and safe from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def ensure(self, name: str) -> None:
        """Make a tenant without bounds, if there is none of this name.

        Raises:
            StoreError: the name cannot be used.
        """
        if not NAME.fullmatch(name):
            raise StoreError(f"{name!r} cannot name a tenant: use up to 64 of a-z, 0-9, dot, dash and underscore.")
        try:
            with self._engine.begin() as connection:
                if connection.execute(select(c.name).where(c.name == name)).first() is None:
                    connection.execute(insert(tenants).values(name=name, created_at=from_now()))
        except IntegrityError:  # another one made it meanwhile
            return

    def allowance(self, name: str) -> Allowance:
        """What a tenant may use; nothing is bounded for one that has no row."""
        with single(self._engine) as connection:
            row = connection.execute(select(*Allowance.columns()).where(c.name == name)).mappings().one_or_none()
        return Allowance() if row is None else Allowance.from_row(row)

    def set_allowance(self, name: str, allowance: Allowance) -> None:
        """Replace a tenant's bounds; they hold from the next request on.

        Raises:
            TenantNotFound: there is none of this name.
        """
        values = {field: getattr(allowance, field) for field in allowance.__dataclass_fields__}
        with self._engine.begin() as connection:
            if connection.execute(update(tenants).where(c.name == name).values(values)).rowcount == 0:
                raise TenantNotFound(name)

    def list(self) -> dict[str, Allowance]:
        """Every tenant by name."""
        with single(self._engine) as connection:
            rows = connection.execute(select(tenants).order_by(c.name)).mappings()
            return {row["name"]: Allowance.from_row(row) for row in rows}
