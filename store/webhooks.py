"""Webhooks as rows: written in the transaction that ends the job, so that none is lost and none is made up.

The only module that writes delivery states:

    announce ─► pending ─claim, sent──► delivered
                  │  ▲──────retry──┘│──► failed        refused for good, or after the last retry
                  └────◄── replay ──┴─────┘

A claim is a lease: it moves `next_at` past the time one attempt may take, so a courier that dies in the middle costs a
repetition. Deliveries come at least once; a receiver tells repetitions by `webhook-id`.
"""

from __future__ import annotations

import base64
import json
import random
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, RowMapping, case, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from store.database import from_now, single
from store.errors import StoreError
from store.ids import new_id
from store.job import FINAL, JobKind, JobState
from store.schema import webhook_attempts, webhook_deliveries, webhook_secrets

log = structlog.get_logger(__name__)

c = webhook_deliveries.c
LEASE_SECONDS = 60.0
RETRY_SECONDS = (5.0, 60.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0)
"""Waits after the first, second, … attempt that failed: a receiver may be down for 18 hours."""

SECRET_BYTES = 32
OVERLAP_HOURS = 24.0
"""How long both secrets sign after a rotation."""


class DeliveryState(StrEnum):
    """Where a delivery is."""

    PENDING = "pending"
    """Waits for its time, or a courier has it in hand."""

    DELIVERED = "delivered"
    """Final. The receiver answered 2xx."""

    FAILED = "failed"
    """Final. The receiver said 410, its address is refused, or the last retry was in vain; it can be replayed."""


class DeliveryNotFound(StoreError):
    """No delivery with this id belongs to the tenant."""

    def __init__(self, delivery_id: str) -> None:
        super().__init__(f"There is no webhook delivery {delivery_id}.")


@dataclass(frozen=True)
class Delivery:
    """One message to one receiver, as its row was when it was read."""

    id: str
    tenant: str
    job_id: str
    kind: JobKind
    type: str
    url: str
    body: str
    state: DeliveryState
    attempts: int
    tries: int
    next_at: datetime | None
    last_status: int | None
    last_error: str | None
    created_at: datetime
    ended_at: datetime | None

    @classmethod
    def from_row(cls, row: RowMapping) -> Delivery:
        return cls(**{**row, "state": DeliveryState(row["state"]), "kind": JobKind(row["kind"])})


@dataclass(frozen=True)
class Attempt:
    """What came of one attempt.

    Attributes:
        status: the receiver's HTTP status; None: there was no answer.
        error: why it did not count, in words; None: it did.
        final: whether trying again is pointless.
        retry_after: seconds the receiver asked to be left alone for.
    """

    seconds: float
    status: int | None = None
    error: str | None = None
    final: bool = False
    retry_after: float = 0.0


@dataclass(frozen=True)
class AttemptLog:
    """One line of a delivery's log."""

    number: int
    at: datetime
    seconds: float
    status: int | None
    error: str | None


@dataclass(frozen=True)
class DeliveryPage:
    """Deliveries, newest first, and the cursor of the next page (None: that was all)."""

    deliveries: list[Delivery]
    next_cursor: str | None


class Webhooks:
    """Reads and changes deliveries and secrets. Every call is synchronous and safe from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # ---- the courier's side -------------------------------------------------------------------------------------

    def claim(self, busy: Collection[str] = ()) -> Delivery | None:
        """Take the delivery that has been due for longest, not of the tenants `busy`; None when nothing is due."""
        ready = (c.state == DeliveryState.PENDING, c.next_at <= from_now(), c.tenant.not_in(list(busy)))
        with single(self._engine) as connection:  # mostly nothing is due, and asking takes no lock that a writer needs
            if connection.execute(select(c.id).where(*ready).limit(1)).first() is None:
                return None
        due = (
            select(c.id)
            .where(*ready)
            .order_by(c.next_at, c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
        values = {"attempts": c.attempts + 1, "tries": c.tries + 1, "next_at": from_now(LEASE_SECONDS)}
        with self._engine.begin() as connection:
            statement = update(webhook_deliveries).where(c.id == due, c.state == DeliveryState.PENDING)
            row = connection.execute(statement.values(values).returning(webhook_deliveries)).mappings().one_or_none()
        return None if row is None else Delivery.from_row(row)

    def record(self, delivery: Delivery, attempt: Attempt) -> Delivery | None:
        """Log an attempt and decide what comes next. None: the lease was lost, another attempt counts."""
        line = {"delivery_id": delivery.id, "number": delivery.attempts, "at": from_now()}
        log = insert(webhook_attempts).values(
            line | {"seconds": attempt.seconds, "status": attempt.status, "error": attempt.error}
        )
        mine = (c.id == delivery.id, c.state == DeliveryState.PENDING, c.attempts == delivery.attempts)
        values = _next(delivery, attempt) | {"last_status": attempt.status, "last_error": attempt.error}
        with self._engine.begin() as connection:
            statement = update(webhook_deliveries).where(*mine).values(values).returning(webhook_deliveries)
            row = connection.execute(statement).mappings().one_or_none()
            if row is not None:
                connection.execute(log)
        return None if row is None else Delivery.from_row(row)

    def signing_secrets(self, tenant: str) -> list[str]:
        """The tenant's secret, made if there is none, and the one before while that still signs too."""
        self.secret(tenant)
        s = webhook_secrets.c
        previous = case((s.previous_until > from_now(), s.previous))
        with single(self._engine) as connection:
            row = connection.execute(select(s.secret, previous).where(s.tenant == tenant)).one()
        return [secret for secret in row if secret is not None]

    def pending(self) -> tuple[int, float]:
        """How many deliveries wait, and how many seconds the one that is most overdue is so."""
        query = select(func.count(), func.min(c.next_at), from_now()).where(c.state == DeliveryState.PENDING)
        with single(self._engine) as connection:
            count, oldest, now = connection.execute(query).one()
        return count, 0.0 if oldest is None else max((now - oldest).total_seconds(), 0.0)

    def forget_old(self, days: float, limit: int = 500) -> int:
        """Drop the log of deliveries that ended so many days ago, at most `limit` of them; how many."""
        old = select(c.id).where(c.state != DeliveryState.PENDING, c.ended_at < from_now(-86400 * days)).limit(limit)
        with self._engine.begin() as connection:
            ids = list(connection.execute(old).scalars())
            connection.execute(delete(webhook_deliveries).where(c.id.in_(ids)))
        return len(ids)

    # ---- the tenant's side --------------------------------------------------------------------------------------

    def secret(self, tenant: str) -> str:
        """The secret that signs a tenant's webhooks (`whsec_…`), made if there is none."""
        query = select(webhook_secrets.c.secret).where(webhook_secrets.c.tenant == tenant)
        with single(self._engine) as connection:
            found = connection.execute(query).scalar_one_or_none()
        if found is not None:
            return str(found)
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(webhook_secrets).values(tenant=tenant, secret=_new_secret()))
        except IntegrityError:  # another one made it meanwhile
            pass
        return self.secret(tenant)

    def rotate_secret(self, tenant: str) -> str:
        """Make another secret; the old one signs along with it for a day."""
        self.secret(tenant)
        s = webhook_secrets.c
        values = {"secret": _new_secret(), "previous": s.secret, "previous_until": from_now(3600 * OVERLAP_HOURS)}
        with self._engine.begin() as connection:
            statement = update(webhook_secrets).where(s.tenant == tenant).values(values).returning(s.secret)
            return str(connection.execute(statement).scalar_one())

    def get(self, delivery_id: str, tenant: str) -> tuple[Delivery, list[AttemptLog]]:
        """One delivery and its log.

        Raises:
            DeliveryNotFound: there is none, or it is another tenant's.
        """
        a = webhook_attempts.c
        lines = select(a.number, a.at, a.seconds, a.status, a.error).where(a.delivery_id == delivery_id)
        with single(self._engine) as connection:
            query = select(webhook_deliveries).where(c.id == delivery_id, c.tenant == tenant)
            row = connection.execute(query).mappings().one_or_none()
            if row is None:
                raise DeliveryNotFound(delivery_id)
            log = [AttemptLog(*line) for line in connection.execute(lines.order_by(a.number))]
        return Delivery.from_row(row), log

    def page(self, tenant: str, job_id: str | None = None, limit: int = 50, cursor: str | None = None) -> DeliveryPage:
        """A tenant's deliveries, newest first. `cursor` is the last id of the page before."""
        query = select(webhook_deliveries).where(c.tenant == tenant).order_by(c.id.desc()).limit(limit + 1)
        query = query if job_id is None else query.where(c.job_id == job_id)
        query = query if cursor is None else query.where(c.id < cursor)
        with single(self._engine) as connection:
            page = [Delivery.from_row(row) for row in connection.execute(query).mappings()]
        return DeliveryPage(page[:limit], page[limit - 1].id if len(page) > limit else None)

    def replay(self, delivery_id: str, tenant: str) -> Delivery:
        """Deliver it again, now, with retries from the start; its id stays, so that a receiver knows it.

        Raises:
            DeliveryNotFound: there is none, or it is another tenant's.
        """
        again = {"state": DeliveryState.PENDING, "tries": 0, "next_at": from_now(), "ended_at": None}
        with self._engine.begin() as connection:
            statement = update(webhook_deliveries).where(c.id == delivery_id, c.tenant == tenant)
            row = connection.execute(statement.values(again).returning(webhook_deliveries)).mappings().one_or_none()
        if row is None:
            raise DeliveryNotFound(delivery_id)
        return Delivery.from_row(row)


def announce(connection: Connection, job: RowMapping) -> None:
    """Record a delivery for a job, as its row now is, if it has just ended and somebody wants to hear of it."""
    url = job["options"].get("webhook_url")
    if url is None or JobState(job["state"]) not in FINAL:
        return
    if "\0" in url:  # of a job from before the gateway refused it: PostgreSQL keeps none, and the job has to end
        log.warning("webhook_url_unusable", job_id=job["id"])
        return
    kind = f"job.{job['state']}"
    values = {
        "id": new_id("msg"), "tenant": job["tenant"], "job_id": job["id"], "kind": job["kind"], "type": kind,
        "url": url, "body": json.dumps({"type": kind, **_message(job)}), "state": DeliveryState.PENDING,
        "attempts": 0, "tries": 0, "next_at": from_now(), "created_at": from_now(),
    }  # fmt: skip
    connection.execute(insert(webhook_deliveries).values(values))


def _message(job: RowMapping) -> dict[str, Any]:
    """What a receiver is told: which job, how it ended, where to look. Never a pixel, never an upload's name."""
    finished_at: datetime = job["finished_at"]
    error = {"code": job["error_code"], "detail": job["error_detail"]} if job["error_code"] else None
    facts = {"id": job["id"], "kind": job["kind"], "state": job["state"], "model": job["model"], "error": error}
    paths = {"self": f"/jobs/{job['id']}", "result": f"/jobs/{job['id']}/result" if job["result_key"] else None}
    return {"timestamp": finished_at.isoformat().replace("+00:00", "Z"), "data": facts | {"links": paths}}


def _next(delivery: Delivery, attempt: Attempt) -> dict[str, Any]:
    if attempt.error is None:
        return {"state": DeliveryState.DELIVERED, "next_at": None, "ended_at": from_now()}
    if attempt.final or delivery.tries > len(RETRY_SECONDS):
        return {"state": DeliveryState.FAILED, "next_at": None, "ended_at": from_now()}
    wait = RETRY_SECONDS[delivery.tries - 1] * random.uniform(0.9, 1.1)  # receivers that came back are not mobbed
    return {"next_at": from_now(max(wait, min(attempt.retry_after, RETRY_SECONDS[-1])))}


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
