"""API keys: made and revoked by the operator, hashed at rest, each with a tenant and scopes.

A key reads `b2s_<id>_<secret>`. The id is public: it finds the row, and names the key in logs and lists. The secret has
256 random bits, so one SHA-256 is enough: what makes a password hash slow is there for secrets that can be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Engine, RowMapping, case, exists, func, insert, or_, select, update

from store.database import from_now, single
from store.errors import StoreError
from store.schema import keys, tenants
from store.tenants import Allowance, Tenants

c = keys.c
KEY = re.compile(r"b2s_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
NOBODY = "0" * 64
"""The digest of no key: an unknown id is compared too, so that it takes as long as a wrong secret."""


class Scope(StrEnum):
    """What a key may do."""

    READ = "read"
    """Look at jobs, results, models and usage."""

    DENOISE = "denoise"
    """Start, cancel and delete denoise jobs."""

    FINETUNE = "finetune"
    """Upload datasets; start, cancel and delete fine-tune jobs; delete models."""

    ADMIN = "admin"
    """All of these, and the gateway's `/metrics`. For the operator, not for customers."""


DEFAULT_SCOPES = (Scope.READ, Scope.DENOISE, Scope.FINETUNE)


class KeyNotFound(StoreError):
    """No key has this id."""

    def __init__(self, key_id: str, what: str = "key") -> None:
        super().__init__(f"There is no {what} {key_id}; `python -m ops keys list` shows those that exist.")


@dataclass(frozen=True)
class Key:
    """One key, without its secret: that is known to nobody but its owner."""

    id: str
    tenant: str
    scopes: frozenset[Scope]
    label: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def from_row(cls, row: RowMapping) -> Key:
        values = {name: row[name] for name in cls.__dataclass_fields__}
        return cls(**values | {"scopes": frozenset(Scope(scope) for scope in row["scopes"])})


class Keys:
    """Makes, finds and revokes keys. Every call is synchronous and safe from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._tenants = Tenants(engine)

    def create(
        self,
        tenant: str,
        scopes: Collection[Scope] = DEFAULT_SCOPES,
        label: str = "",
        days: float | None = None,
        text: str | None = None,
    ) -> str:
        """Make a key and return its text, which is not kept anywhere.

        Args:
            days: until it expires; None: never.
            text: a key made elsewhere by `new_key`, for installations that generate their secrets first. Entering the
                same one again changes nothing.

        Raises:
            StoreError: `text` is no key, or the tenant's name cannot be used.
        """
        text = text or new_key()
        found = KEY.fullmatch(text)
        if found is None:
            raise StoreError("This is no key: it has to look like b2s_<12 hex digits>_<43 characters>.")
        self._tenants.ensure(tenant)
        values = {
            "id": found[1], "tenant": tenant, "digest": _digest(text), "scopes": sorted(scopes), "label": label,
            "created_at": from_now(), "expires_at": None if days is None else from_now(86400 * days),
        }  # fmt: skip
        with self._engine.begin() as connection:
            if connection.execute(select(c.digest).where(c.id == found[1])).scalar_one_or_none() != values["digest"]:
                connection.execute(insert(keys).values(values))
        return text

    def authenticate(self, text: str) -> tuple[Key, Allowance] | None:
        """The live key with this text and what its tenant may use; None: unknown, wrong, expired or revoked.

        One indexed query, and nothing cached: a revoked key ends at once, on every gateway.
        """
        found = KEY.fullmatch(text)
        if found is None:
            return None
        query = (
            select(keys, *Allowance.columns())
            .join(tenants, tenants.c.name == c.tenant)
            .where(c.id == found[1], *_live())
        )
        with single(self._engine) as connection:
            row = connection.execute(query).mappings().one_or_none()
        matches = hmac.compare_digest(NOBODY if row is None else row["digest"], _digest(text))
        return (Key.from_row(row), Allowance.from_row(row)) if row is not None and matches else None

    def is_live(self, key_id: str) -> bool:
        """Whether a key that was let in before still is neither revoked nor expired."""
        with single(self._engine) as connection:
            return bool(connection.execute(select(exists(select(c.id).where(c.id == key_id, *_live())))).scalar())

    def configured(self) -> bool:
        """Whether there is any key, be it revoked: revoking the last one must not open the service to everybody."""
        with single(self._engine) as connection:
            return bool(connection.execute(select(exists(select(c.id)))).scalar())

    def list(self, tenant: str | None = None) -> list[Key]:
        """All keys, or a tenant's, oldest first."""
        query = select(keys).order_by(c.created_at, c.id)
        with single(self._engine) as connection:
            rows = connection.execute(query if tenant is None else query.where(c.tenant == tenant)).mappings()
            return [Key.from_row(row) for row in rows]

    def revoke(self, key_id: str) -> Key:
        """End a key now; twice is fine.

        Raises:
            KeyNotFound: there is none with this id.
        """
        return self._change(key_id, {"revoked_at": func.coalesce(c.revoked_at, from_now())})

    def rotate(self, key_id: str, grace_hours: float = 24.0, days: float | None = None) -> str:
        """Make another key with the same tenant and scopes; the old one ends after the grace time, if not before.

        Args:
            days: until the new one expires; None: when the old one would have.

        Raises:
            KeyNotFound: there is no live key with this id.
        """
        text, grace = new_key(), from_now(3600 * grace_hours)
        with self._engine.begin() as connection:
            found = connection.execute(select(keys).where(c.id == key_id, *_live())).mappings().one_or_none()
            if found is None:
                raise KeyNotFound(key_id, "live key")
            expires_at = found["expires_at"] if days is None else from_now(86400 * days)
            fresh = {"id": text.split("_")[1], "digest": _digest(text), "created_at": from_now()}
            connection.execute(insert(keys).values({**found, **fresh, "expires_at": expires_at}))
            ends = case((c.expires_at < grace, c.expires_at), else_=grace)
            connection.execute(update(keys).where(c.id == key_id).values(expires_at=ends))
        return text

    def _change(self, key_id: str, values: Mapping[str, Any]) -> Key:
        with self._engine.begin() as connection:
            statement = update(keys).where(c.id == key_id).values(values).returning(keys)
            row = connection.execute(statement).mappings().one_or_none()
        if row is None:
            raise KeyNotFound(key_id)
        return Key.from_row(row)


def _live() -> list[ColumnElement[bool]]:
    """Condition: the key is neither revoked nor expired."""
    return [c.revoked_at.is_(None), or_(c.expires_at.is_(None), c.expires_at > from_now())]


def new_key() -> str:
    """A fresh key."""
    return f"b2s_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
