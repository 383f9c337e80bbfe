"""What is asked of jobs. Nothing here changes one; `store.jobs` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Engine, Select, and_, bindparam, func, or_, select
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from store.database import from_now, single
from store.errors import IdempotencyConflict, JobNotFound
from store.job import FINAL, Job, JobEvent, JobKind, JobState, Page, QueueStats
from store.options import REVISION
from store.schema import job_events, jobs

c = jobs.c
Values = Mapping[str, Any]
Columns = ReadOnlyColumnCollection[str, Column[Any]]


class JobQueries:
    """Reads jobs. Every call is synchronous and safe from any thread; none leaves a transaction open."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find_replay(self, tenant: str, idempotency_key: str, body_hash: str) -> Job | None:
        """The job an idempotency key made before, or None. Cheap: ask before storing an upload.

        Raises:
            IdempotencyConflict: it was made from another body.
        """
        job = self._one(_BY_KEY, {"by_tenant": tenant, "by_key": idempotency_key})
        if job is not None and job.body_hash != body_hash:
            raise IdempotencyConflict(idempotency_key, job.id)
        return job

    def get(self, job_id: str, tenant: str | None = None) -> Job:
        """One job; of one tenant when that is given.

        Raises:
            JobNotFound: there is none, or it is another tenant's.
        """
        job = self._one(_BY_ID, {"by_id": job_id})
        if job is None or tenant not in (None, job.tenant):
            raise JobNotFound(job_id)
        return job

    def get_many(self, job_ids: Sequence[str]) -> dict[str, Job]:
        """Jobs by id, one query per 500; the unknown are left out. One poller serves all waiting requests with it."""
        found: dict[str, Job] = {}
        with single(self._engine) as connection:
            for start in range(0, len(job_ids), 500):  # SQLite allows 999 parameters
                query = select(jobs).where(c.id.in_(job_ids[start : start + 500]))
                found |= {row["id"]: Job.from_row(row) for row in connection.execute(query).mappings()}
        return found

    def page(
        self,
        tenant: str,
        kind: JobKind | None = None,
        state: JobState | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Jobs of a tenant, newest first. `cursor` is the last id of the page before."""
        query = select(jobs).where(c.tenant == tenant).order_by(c.id.desc()).limit(limit + 1)
        for column, value in ((c.kind, kind), (c.state, state)):
            query = query if value is None else query.where(column == value)
        query = query if cursor is None else query.where(c.id < cursor)
        with single(self._engine) as connection:
            page = [Job.from_row(row) for row in connection.execute(query).mappings()]
        return Page(page[:limit], page[limit - 1].id if len(page) > limit else None)

    def marks(self, job_ids: Sequence[str]) -> dict[str, tuple[int, JobState]]:
        """Number of the last event and state of jobs; `get_many` for a poller that asks often and wants little."""
        found: dict[str, tuple[int, JobState]] = {}
        with single(self._engine) as connection:
            for start in range(0, len(job_ids), 500):
                rows = connection.execute(_MARKS, {"by_ids": job_ids[start : start + 500]})
                found |= {row[0]: (row[1], JobState(row[2])) for row in rows}
        return found

    def queue_positions(self, job_ids: Sequence[str]) -> dict[str, int]:
        """Place in the queue, 1 is next, of those of the jobs that are queued; in one query."""
        with single(self._engine) as connection:
            return {row[0]: row[1] for row in connection.execute(_POSITIONS, {"by_ids": job_ids})}

    def events(self, job_id: str, after: int = 0, limit: int = 500) -> list[JobEvent]:
        """History of a job behind event number `after`, oldest first. Read on while `Job.event_seq` is larger."""
        e = job_events.c
        query = select(job_events).where(e.job_id == job_id, e.seq > after).order_by(e.seq).limit(limit)
        with single(self._engine) as connection:
            return [JobEvent(**row) for row in connection.execute(query).mappings()]

    def due(self, kind: JobKind) -> int:
        """How many jobs a worker could claim now."""
        with single(self._engine) as connection:
            return connection.execute(select(func.count()).where(*due(c, kind))).scalar_one()

    def next_due(self, kind: JobKind, limit: int) -> list[str]:
        """Ids of the jobs that would be claimed next."""
        query = select(c.id).where(*due(c, kind)).order_by(c.turn, c.id).limit(limit)
        with single(self._engine) as connection:
            return list(connection.execute(query).scalars())

    def stats(self, kind: JobKind) -> QueueStats:
        """Length and age of a queue."""
        counts = (
            select(c.state, func.count(), func.min(c.created_at), from_now())
            .where(c.kind == kind, c.state.in_((JobState.QUEUED, JobState.RUNNING)))
            .group_by(c.state)
        )
        with single(self._engine) as connection:
            found = {row[0]: row for row in connection.execute(counts)}
        queued, running = found.get(JobState.QUEUED), found.get(JobState.RUNNING)
        oldest = (queued[3] - queued[2]).total_seconds() if queued else 0.0
        return QueueStats(queued[1] if queued else 0, running[1] if running else 0, max(oldest, 0.0))

    def expired(self, limit: int = 100) -> list[str]:
        """Ids of final jobs that kept their bytes for long enough; `purge` them, then delete those."""
        query = select(c.id).where(c.state.in_(FINAL), c.expires_at < from_now(), c.purged_at.is_(None)).limit(limit)
        with single(self._engine) as connection:
            return list(connection.execute(query).scalars())

    def known_keys(self, keys: Sequence[str]) -> set[str]:
        """Those of the blob keys that belong to a job whose bytes may exist; others are orphans."""
        job_of = {key: key.split("/")[1] for key in keys}
        query = select(c.id).where(c.id.in_(sorted(set(job_of.values()))), c.purged_at.is_(None))
        with single(self._engine) as connection:
            known = set(connection.execute(query).scalars())
        return {key for key, job_id in job_of.items() if job_id in known}

    def _one(self, query: Select[Any], bound: Values) -> Job | None:
        with single(self._engine) as connection:
            row = connection.execute(query, bound).mappings().one_or_none()
        return None if row is None else Job.from_row(row)


def due(columns: Columns, kind: JobKind) -> list[ColumnElement[bool]]:
    """Condition: a worker of this program may claim it now; one that needs to know more is left to a newer one."""
    waited = or_(columns.not_before.is_(None), columns.not_before <= from_now())
    return [columns.kind == kind, columns.state == JobState.QUEUED, columns.needs <= REVISION, waited]


def _queue_positions() -> Select[Any]:
    ahead = jobs.alias("ahead")
    before = or_(ahead.c.turn < c.turn, and_(ahead.c.turn == c.turn, ahead.c.id <= c.id))
    position = (
        select(func.count())
        .select_from(ahead)
        .where(ahead.c.kind == c.kind, ahead.c.state == JobState.QUEUED, before)
        .correlate(jobs)
        .scalar_subquery()
    )
    return select(c.id, position).where(_AMONG, c.state == JobState.QUEUED)


# Built once, with names for what differs, as those of `store.jobs`.

_AMONG = c.id.in_(bindparam("by_ids", expanding=True))
_BY_ID = select(jobs).where(c.id == bindparam("by_id"))
_BY_KEY = select(jobs).where(c.tenant == bindparam("by_tenant"), c.idempotency_key == bindparam("by_key"))
_MARKS = select(c.id, c.event_seq, c.state).where(_AMONG)
_POSITIONS = _queue_positions()
