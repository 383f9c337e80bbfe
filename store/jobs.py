"""The only module that writes job states. A transition is one conditional UPDATE; who loses a race changes nothing.

    create ─► queued ─claim─► running ─finish──► succeeded
                ▲                │ ├───fail────► failed
                └─release, lease─┘ └──canceled─► canceled
                   expired, hand_back

The attempt number guards every write of a worker: a claim raises it, so a worker that slept through its lease writes to
nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import structlog
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    ScalarSelect,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.sql.dml import ReturningUpdate

from store import datasets, faults, models, usage, webhooks
from store.database import from_now, single
from store.errors import JobNotFound, QueueFull, StoreError, TenantQueueFull
from store.grouped import Grouped
from store.ids import is_id
from store.job import FINAL, Created, Job, JobError, JobKind, JobState, NewJob, Outcome, Progress, Signal
from store.job_queries import JobQueries, Values, due
from store.schema import job_events, jobs
from store.settings import Settings

__all__ = ["Job", "JobKind", "JobState", "Jobs"]

log = structlog.get_logger(__name__)

c = jobs.c
Where = Sequence[ColumnElement[bool]]
Change = ReturningUpdate[Any]
QUEUE_FULL_RETRY_SECONDS = 10
RETRY_SECONDS = 2.0
_CLAIM_LOCK = 0x6232_7363  # any number that no other program locks: "b2sc"


class Jobs(JobQueries):
    """Changes jobs and reads them, from any thread; no call leaves a transaction open."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        super().__init__(engine)
        self._settings = settings
        self._create_in_group = Grouped(self._create_all, blames=(IntegrityError, StoreError))

    # ---- the gateway's side -------------------------------------------------------------------------------------

    def create(self, new: NewJob) -> Created:
        """Record a job as queued.

        Its `turn` makes a round-robin between tenants (start-time fair queueing, Goyal et al. 1997): a tenant's next
        job comes one round after its last one, but never before the round that runs now.

        Raises:
            QueueFull: B2S_MAX_QUEUED jobs of this kind wait already. On PostgreSQL, requests that arrive together may
                pass the bound by their number: a lock on every upload would cost more than a few rows.
            TenantQueueFull: B2S_MAX_QUEUED_PER_TENANT of them are this tenant's.
            QuotaExceeded, TooManyJobs: it is more than the tenant's allowance.
            IdempotencyConflict: the tenant used the key before with another body.
            ModelNotFound, DatasetNotFound: what the job needs was deleted meanwhile.
        """
        if self._engine.dialect.name == "sqlite":
            return self._create_in_group(new)  # one writer at a time, and a commit waits for the disk: share both
        return self._create_all([new])[0]

    def request_cancel(self, job_id: str, tenant: str | None = None) -> Job:
        """Cancel a queued job at once, ask the worker of a running one to stop; a final job stays as it is.

        Once this returns an unfinished job, it can end as `canceled` (or `failed`) only.

        Raises:
            JobNotFound: there is none, or it is another tenant's.
        """
        with self._engine.begin() as connection:
            queued = [c.id == job_id, c.state == JobState.QUEUED, *_of(tenant)]
            ending = self._ending(JobState.CANCELED) | {"cancel_requested": True}
            job = self._advance(connection, _change(queued, ending))
            if job is not None:
                return job
            connection.execute(
                update(jobs)
                .where(c.id == job_id, c.state == JobState.RUNNING, *_of(tenant))
                .values(cancel_requested=True)
            )
        return self.get(job_id, tenant)

    # ---- the worker's side --------------------------------------------------------------------------------------

    def claim(self, kind: JobKind, owner: str) -> Job | None:
        """Take the queued job whose turn it is, with a lease; None when nothing may run.

        The doorbell only says that there is work: which job runs is decided here, so a doubled or lost message changes
        nothing.
        """
        with self._engine.begin() as connection:
            self._await_other_claims(connection, kind)
            job = self._advance(connection, self._claims[kind], {"lease_owner": owner})
        if job is not None:
            faults.point("claimed")
        return job

    def renew(self, job: Job, progress: Progress | None = None, phase: str | None = None) -> Signal:
        """Keep the lease, store progress when given (with an event), and hear whether to go on."""
        values: dict[str, Any] = {"lease_until": from_now(self._settings.lease_seconds)}
        if progress is None and phase is None:
            with single(self._engine) as connection:
                held = _held(job.id, job.attempt)
                statement = update(jobs).where(*held).values(values).returning(c.cancel_requested)
                return _signal(connection.execute(statement).scalar_one_or_none())
        if progress is not None:
            values["progress"] = progress.to_dict()
        if phase is not None:
            values["phase"] = phase
        with self._engine.begin() as connection:
            renewed = self._advance(connection, _change(_held(job.id, job.attempt), values), event="progress")
        return _signal(None if renewed is None else renewed.cancel_requested)

    def finish(self, job: Job, outcome: Outcome, device: str | None = None) -> Job | None:
        """Succeed; `canceled` instead if that was asked for. None: the attempt was lost, nothing counts.

        Args:
            device: where it was computed, as torch names it: `cpu`, `cuda`, `cuda:1`.
        """
        made = {
            "result_key": outcome.result_key,
            "report_key": outcome.report_key,
            "picture_key": outcome.picture_key,
            "result": dict(outcome.result),
            "progress": outcome.progress.to_dict(),
            "timings": dict(outcome.timings),
            "device": device,
        }
        faults.point("finishing")
        with self._engine.begin() as connection:
            finished = self._conclude(connection, job, JobState.SUCCEEDED, made)
            if outcome.model is not None and finished is not None and finished.state is JobState.SUCCEEDED:
                models.publish(connection, outcome.model, job.tenant)
        faults.point("finished")
        return finished

    def fail(
        self, job: Job, error: JobError, timings: Mapping[str, float] | None = None, device: str | None = None
    ) -> Job | None:
        """Fail for good, told as `finish` is; `canceled` instead if that was asked for. None: the attempt was lost."""
        spent = {"timings": dict(timings or {}), "device": device}
        with self._engine.begin() as connection:
            return self._conclude(connection, job, JobState.FAILED, _error(error) | spent)

    def canceled(self, job: Job) -> Job | None:
        """The worker has stopped as it was asked to. None: the attempt was lost."""
        with self._engine.begin() as connection:
            return self._advance(connection, self._endings[JobState.CANCELED], _bound(job))

    def release(self, job: Job, error: JobError) -> Job | None:
        """An attempt died for a reason that another may survive: queue the job again, or fail it after too many.

        The next attempt waits 2 s, the one after 8 s, and so on: time for whatever was away to come back.
        """
        with self._engine.begin() as connection:
            return self._strike(connection, _held(job.id, job.attempt), error, RETRY_SECONDS * 4**job.strikes)

    def hand_back(self, owner: str) -> list[Job]:
        """Queue again, without a strike, whatever a stopping worker still holds."""
        mine = [c.state == JobState.RUNNING, c.lease_owner == owner]
        with self._engine.begin() as connection:
            ids = connection.execute(select(c.id).where(*mine)).scalars().all()
            freed = [self._advance(connection, _change([c.id == job_id, *mine], _REQUEUED)) for job_id in ids]
        return [job for job in freed if job is not None]

    # ---- the sweep's side ---------------------------------------------------------------------------------------

    def requeue_expired(self, limit: int = 500) -> list[Job]:
        """Queue again (or fail, after too many attempts) the running jobs whose worker let the lease expire.

        Each in a transaction of its own: a job that the database will not change must not hold up everybody else's.
        """
        expired = [c.state == JobState.RUNNING, c.lease_until < from_now()]
        with single(self._engine) as connection:
            ids = connection.execute(select(c.id).where(*expired).limit(limit)).scalars().all()
        requeued = [self._struck([c.id == job_id, *expired], job_id) for job_id in ids]
        return [job for job in requeued if job is not None]

    def purge(self, job_id: str) -> Job:
        """Forget a job's bytes and history. Call it before deleting the blobs, so that nobody starts to read them.

        Raises:
            JobNotFound: there is none.
        """
        forget = {
            "purged_at": from_now(),
            "input_key": None,
            "result_key": None,
            "report_key": None,
            "picture_key": None,
        }
        with self._engine.begin() as connection:
            statement = update(jobs).where(c.id == job_id).values(forget).returning(jobs)
            row = connection.execute(statement).mappings().one_or_none()
            if row is None:
                raise JobNotFound(job_id)
            connection.execute(delete(job_events).where(job_events.c.job_id == job_id))
        faults.point("purged")
        return Job.from_row(row)

    def forget_old(self, limit: int = 500) -> int:
        """Drop the rows of purged jobs that ended more than B2S_JOB_DAYS ago; how many."""
        old = (
            select(c.id)
            .where(
                c.state.in_(FINAL), c.purged_at.is_not(None), c.finished_at < from_now(-86400 * self._settings.job_days)
            )
            .limit(limit)
        )
        with self._engine.begin() as connection:
            ids = list(connection.execute(old).scalars())
            connection.execute(delete(jobs).where(c.id.in_(ids)))
        return len(ids)

    # ---- how --------------------------------------------------------------------------------------------------

    def _next_turn(self, connection: Connection, new: NewJob) -> int:
        bound = {"of_kind": new.kind, "of_tenant": new.tenant}
        length, running_round, my_length, my_last = connection.execute(_QUEUE, bound).one()
        self._require_place(length, my_length)
        return max(running_round or 0, -1 if my_last is None else my_last) + (my_last is not None)

    def _require_place(self, length: int, my_length: int) -> None:
        """Refuse a job that is one too many."""
        bound, my_bound = self._settings.max_queued, self._settings.max_queued_per_tenant
        if my_length >= my_bound:
            raise TenantQueueFull(my_bound, QUEUE_FULL_RETRY_SECONDS)
        if length >= bound:
            raise QueueFull(bound, QUEUE_FULL_RETRY_SECONDS)

    def _create_all(self, group: Sequence[NewJob]) -> list[Created]:
        """Record all of them in one transaction, or none. Raises as `create`."""
        try:
            with self._engine.begin() as connection:
                made = [self._create(connection, new) for new in group]
        except (IntegrityError, StoreError):  # a bound that the first job took up does not refuse its repetition
            earlier = self._replay(group[0]) if len(group) == 1 else None
            if earlier is None:
                raise
            return [Created(earlier, replayed=True)]
        faults.point("created")
        return [Created(job, replayed=False) for job in made]

    def _create(self, connection: Connection, new: NewJob) -> Job:
        _take_what_it_needs(connection, new)
        turn = self._next_turn(connection, new)
        usage.accept(connection, new)
        return self._insert(connection, new, turn)

    def _insert(self, connection: Connection, new: NewJob, turn: int) -> Job:
        values = {
            "id": new.id,
            "tenant": new.tenant,
            "kind": new.kind,
            "state": JobState.QUEUED,
            "turn": turn,
            "attempt": 0,
            "strikes": 0,
            "cancel_requested": False,
            "model": new.model,
            "dataset_id": new.dataset_id,
            "options": dict(new.options),
            "input": dict(new.input),
            "input_key": new.input_key,
            "pixels": new.pixels,
            "request_id": new.request_id,
            "traceparent": new.traceparent,
            "idempotency_key": new.idempotency_key,
            "body_hash": new.body_hash,
            "progress": Progress(unit=new.unit).to_dict(),
            "event_seq": 1,
            "timings": {},
        }
        row = connection.execute(_INSERT, values).mappings().one()
        _record(connection, row, "state")
        return Job.from_row(row)

    def _replay(self, new: NewJob) -> Job | None:
        """The job that the same request made before, if there is one."""
        if new.idempotency_key is None:
            return None
        return self.find_replay(new.tenant, new.idempotency_key, new.body_hash or "")

    def _await_other_claims(self, connection: Connection, kind: JobKind) -> None:
        """With a cap, let one claim in at a time: two that count together would both find the last place free."""
        if self._settings.max_running_per_tenant and connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_CLAIM_LOCK, list(JobKind).index(kind))))

    @cached_property
    def _claims(self) -> Mapping[JobKind, Change]:
        """How the job whose turn it is begins to run, for its `lease_owner`."""
        values = {
            "state": JobState.RUNNING,
            "attempt": c.attempt + 1,
            "lease_until": from_now(self._settings.lease_seconds),
            "started_at": from_now(),
        }
        return {
            kind: _change([c.id == self._next_in_turn(kind), c.state == JobState.QUEUED], values) for kind in JobKind
        }

    @cached_property
    def _endings(self) -> Mapping[JobState, Change]:
        """How a held job ends: as succeeded or failed only if nobody has asked to cancel it."""
        wanted = [*_HELD, ~c.cancel_requested]
        where = {JobState.SUCCEEDED: wanted, JobState.FAILED: wanted, JobState.CANCELED: _HELD}
        return {state: _change(held, self._ending(state)) for state, held in where.items()}

    def _next_in_turn(self, kind: JobKind) -> ScalarSelect[str]:
        waiting = jobs.alias("waiting").c
        query = select(waiting.id).where(*due(waiting, kind))
        cap = self._settings.max_running_per_tenant
        if cap:
            at_cap = select(c.tenant).where(c.kind == kind, c.state == JobState.RUNNING).group_by(c.tenant)
            query = query.where(waiting.tenant.not_in(at_cap.having(func.count() >= cap).correlate(None)))
        # SKIP LOCKED matters on PostgreSQL; SQLite has one writer at a time anyway.
        return query.order_by(waiting.turn, waiting.id).limit(1).with_for_update(skip_locked=True).scalar_subquery()

    def _conclude(self, connection: Connection, job: Job, state: JobState, values: Values) -> Job | None:
        """End a held job in `state` with these values, or as canceled if somebody asked for that in the meantime."""
        ended = self._advance(connection, self._endings[state], {**_bound(job), **values})
        return ended or self._advance(connection, self._endings[JobState.CANCELED], _bound(job))

    def _strike(self, connection: Connection, where: Where, error: JobError, retry_seconds: float = 0.0) -> Job | None:
        more = c.strikes + 1 < self._settings.max_attempts
        struck: Values = {"strikes": c.strikes + 1, "not_before": from_now(retry_seconds)}
        return (
            self._advance(connection, _change([*where, c.cancel_requested], self._ending(JobState.CANCELED)))
            or self._advance(connection, _change([*where, more], {**_REQUEUED, **struck}))
            or self._advance(connection, _change(where, {**self._ending(JobState.FAILED), **_error(error), **struck}))
        )

    def _struck(self, where: Where, job_id: str) -> Job | None:
        """Strike a lost job; None: it is lost no more, or the database refuses. Raises if that cannot be reached."""
        with self._engine.connect() as connection:
            try:
                with connection.begin():
                    return self._strike(connection, where, _LOST)
            except SQLAlchemyError as error:
                log.error("job_not_requeued", job_id=job_id, reason=str(error))
                return None

    def _ending(self, state: JobState) -> dict[str, Any]:
        return {
            "state": state,
            "lease_owner": None,
            "lease_until": None,
            "finished_at": from_now(),
            "expires_at": from_now(3600 * self._settings.result_hours),
        }

    def _advance(
        self, connection: Connection, change: Change, bound: Values | None = None, event: str = "state"
    ) -> Job | None:
        """The one way a job changes: if it still is what `change` asks for, and with a line in its history."""
        row = connection.execute(change, bound).mappings().one_or_none()
        if row is None:
            return None
        _record(connection, row, event)
        usage.settle(connection, row)
        webhooks.announce(connection, row)
        return Job.from_row(row)


def _take_what_it_needs(connection: Connection, new: NewJob) -> None:
    """Keep model and dataset of a new job from being deleted under it. Base models are never deleted."""
    if new.model is not None and is_id("mdl", new.model):
        models.take(connection, new.model, new.tenant)
    if new.dataset_id is not None:
        datasets.take(connection, new.dataset_id, new.tenant)


def _change(where: Where, values: Values) -> Change:
    """The UPDATE of a job that still is what `where` says; each one is an event of its history."""
    return update(jobs).where(*where).values({**values, "event_seq": c.event_seq + 1}).returning(jobs)


_LOST = JobError("worker_lost", "The worker that ran this job died or stalled; every attempt ended that way.")
_REQUEUED: Values = {"state": JobState.QUEUED, "lease_owner": None, "lease_until": None, "phase": None}


def _held(job_id: Any, attempt: Any) -> list[ColumnElement[bool]]:
    """Condition: this attempt at the job still runs."""
    return [c.id == job_id, c.state == JobState.RUNNING, c.attempt == attempt]


def _bound(job: Job) -> dict[str, Any]:
    """What `_HELD` asks for."""
    return {"held_id": job.id, "held_attempt": job.attempt}


def _of(tenant: str | None) -> list[ColumnElement[bool]]:
    return [] if tenant is None else [c.tenant == tenant]


def _error(error: JobError) -> dict[str, Any]:
    return {"error_code": error.code, "error_detail": error.detail}


def _signal(cancel_requested: bool | None) -> Signal:
    if cancel_requested is None:
        return Signal.LOST
    return Signal.CANCEL if cancel_requested else Signal.CONTINUE


def _record(connection: Connection, row: RowMapping, event: str) -> None:
    data: dict[str, Any] = {"state": row["state"], "attempt": row["attempt"]}
    if event == "progress":
        data = {"phase": row["phase"], **row["progress"]}
    elif row["error_code"]:
        data["error"] = {"code": row["error_code"], "detail": row["error_detail"]}
    connection.execute(_RECORD, {"job_id": row["id"], "seq": row["event_seq"], "type": event, "data": data})


# ---- statements that every job costs ---------------------------------------------------------------------------------

# Built once, with names for what differs: to build one anew and to find its compiled form takes seven times as long as
# to run it (an UPDATE 1.4 ms of CPU instead of 0.2).


_HELD = _held(bindparam("held_id"), bindparam("held_attempt"))
_MINE = c.tenant == bindparam("of_tenant")
_QUEUE = select(func.count(), func.min(c.turn), func.count().filter(_MINE), func.max(c.turn).filter(_MINE)).where(
    c.kind == bindparam("of_kind"), c.state == JobState.QUEUED
)
_INSERT = insert(jobs).values(created_at=from_now()).returning(jobs)
_RECORD = insert(job_events).values(at=from_now())
