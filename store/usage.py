"""What tenants use: counted by day (UTC) and kind, in the transaction that accepts or ends the job, so nothing drifts.

The row of a tenant's day is also the lock that makes its bounds exact: two requests that race for the last pixel of a
quota meet there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert

from store.database import single, today
from store.errors import QuotaExceeded, TooManyJobs
from store.job import FINAL, JobKind, JobState, NewJob
from store.schema import jobs, usage
from store.stored import Room, stored_bytes

c = usage.c
_COUNTS = [column.name for column in c if not column.primary_key]
UNFINISHED = [state for state in JobState if state not in FINAL]
BUSY_RETRY_SECONDS = 10


@dataclass(frozen=True)
class DayUsage:
    """What a tenant used on a day with one kind of job.

    Attributes:
        accepted, succeeded, failed, canceled: jobs.
        accepted_pixels: what quotas count; never given back.
        pixels: of the jobs that succeeded.
        worker_seconds: how long workers were busy with attempts that ended.
        gpu_seconds: those of them that a GPU was held for: all of a GPU worker's, also while it decodes or encodes.
    """

    tenant: str
    day: str
    kind: JobKind
    accepted: int
    accepted_pixels: int
    succeeded: int
    failed: int
    canceled: int
    pixels: int
    worker_seconds: float
    gpu_seconds: float


class Usage:
    """Reads the counts. Every call is synchronous and safe from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def days(self, tenant: str, first: date, last: date) -> list[DayUsage]:
        """A tenant's days from `first` to `last`, newest first; days without use are left out."""
        within = c.day.between(first.isoformat(), last.isoformat())
        query = select(usage).where(c.tenant == tenant, within).order_by(c.day.desc(), c.kind)
        with single(self._engine) as connection:
            rows = connection.execute(query).mappings()
            return [DayUsage(**{**row, "kind": JobKind(row["kind"])}) for row in rows]

    def stored(self, tenant: str) -> int:
        """Bytes that a tenant stores now."""
        with single(self._engine) as connection:
            return int(connection.execute(stored_bytes(tenant)).scalar_one())

    def room(self, tenant: str, bound: int | None) -> Room:
        """What a tenant stores now, beside how much it may."""
        with single(self._engine) as connection:
            return Room.of(connection, tenant, bound)

    def accepted_today(self, tenant: str) -> tuple[date, int]:
        """The database's day (UTC), and the pixels accepted on it so far."""
        pixels = select(func.coalesce(func.sum(c.accepted_pixels), 0)).where(c.tenant == tenant, c.day == today())
        with single(self._engine) as connection:
            day, accepted = connection.execute(select(today(), pixels.scalar_subquery())).one()
        return date.fromisoformat(day), int(accepted)


def accept(connection: Connection, new: NewJob) -> None:
    """Count a job that is being accepted, and whose row is there already, within what its tenant may use.

    From here to the end of the transaction no other job of the tenant is counted.

    Raises:
        QuotaExceeded: its pixels do not fit into what is left of the day.
        StorageFull: its upload does not fit into what the tenant may store.
        TooManyJobs: the tenant has as many unfinished jobs as it may.
    """
    bounds = new.allowance
    _accept_pixels(connection, new.tenant, new.kind, bounds.pixels_per_day, accepted=1, accepted_pixels=new.pixels)
    if new.dataset_id is None:
        Room.of(connection, new.tenant, bounds.stored_bytes).require_counted(int(new.input.get("bytes", 0)))
    if bounds.unfinished_jobs is not None:
        mine = (jobs.c.kind.in_(list(JobKind)), jobs.c.state.in_(UNFINISHED), jobs.c.tenant == new.tenant)
        if connection.execute(select(func.count()).where(*mine)).scalar_one() > bounds.unfinished_jobs:
            raise TooManyJobs(bounds.unfinished_jobs, BUSY_RETRY_SECONDS)


def accept_more(connection: Connection, tenant: str, kind: JobKind, pixels: int, bound: int | None) -> None:
    """Count pixels of an accepted job that only its worker could see. Raises QuotaExceeded."""
    _accept_pixels(connection, tenant, kind, bound, accepted_pixels=pixels)


def _accept_pixels(connection: Connection, tenant: str, kind: JobKind, bound: int | None, **amounts: int) -> None:
    day = _add(connection, tenant, kind, amounts)
    if bound is None:
        return
    spent = select(func.sum(c.accepted_pixels)).where(c.tenant == tenant, c.day == day)
    if int(connection.execute(spent).scalar_one()) > bound:
        raise QuotaExceeded(bound, resets_at(date.fromisoformat(day)))


def settle(connection: Connection, job: RowMapping) -> None:
    """Count a job, as its row now is, if it has just ended."""
    state = JobState(job["state"])
    if not state.final:
        return
    seconds = sum(value for stage, value in job["timings"].items() if stage != "queued")
    pixels = job["pixels"] if state is JobState.SUCCEEDED else 0
    on_gpu = (job["device"] or "").startswith("cuda")
    spent = {"worker_seconds": seconds, "gpu_seconds": seconds if on_gpu else 0.0}
    _add(connection, job["tenant"], JobKind(job["kind"]), {state.value: 1, "pixels": pixels, **spent})


def resets_at(day: date) -> datetime:
    """When the quota of a day gives way to the next one's."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)


def _add(connection: Connection, tenant: str, kind: JobKind, amounts: Mapping[str, Any]) -> str:
    """Add to the tenant's row of today, made if missing; the day."""
    row = dict.fromkeys(_COUNTS, 0) | {"tenant": tenant, "kind": kind} | dict(amounts)
    return str(connection.execute(_adding(connection.dialect.name), row).scalar_one())


@cache
def _adding(dialect: str) -> ReturningInsert[tuple[str]]:
    """The statement of `_add`, built once: every job costs it twice."""
    row = (sqlite if dialect == "sqlite" else postgresql).insert(usage).values(day=today())
    grown = {name: c[name] + row.excluded[name] for name in _COUNTS}
    added = row.on_conflict_do_update(index_elements=[c.tenant, c.day, c.kind], set_=grown)
    statement: ReturningInsert[tuple[str]] = added.returning(c.day)
    return statement
