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
from sqlalchemy import Connection, Engine, ScalarSelect, delete, func, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from store import datasets, faults, job_files, models, usage
from store import job_statements as sql
from store.database import from_now, single
from store.errors import JobNotFound, QueueFull, StoreError, TenantQueueFull
from store.grouped import Grouped
from store.ids import is_id
from store.job import FINAL, Created, Job, JobError, JobKind, JobState, NewJob, Outcome, Progress, Signal
from store.job_changes import advance
from store.job_queries import JobQueries, Values, due
from store.job_statements import Change, Where
from store.schema import job_events, jobs, pictures, tenants
from store.settings import Settings

__all__ = ["Job", "JobKind", "JobState", "Jobs"]

log = structlog.get_logger(__name__)

c = jobs.c
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
            QuotaExceeded, StorageFull, TooManyJobs: it is more than the tenant's allowance.
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
            queued = [c.id == job_id, c.state == JobState.QUEUED, *sql.of_tenant(tenant)]
            ending = self._ending(JobState.CANCELED) | {"cancel_requested": True}
            job = advance(connection, sql.change_of(queued, ending))
            if job is not None:
                return job
            connection.execute(
                update(jobs)
                .where(c.id == job_id, c.state == JobState.RUNNING, *sql.of_tenant(tenant))
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
            job = advance(connection, self._claims[kind], {"lease_owner": owner})
        if job is not None:
            faults.point("claimed")
        return job

    def renew(self, job: Job, progress: Progress | None = None, phase: str | None = None) -> Signal:
        """Keep the lease, store progress when given (with an event), and hear whether to go on."""
        values: dict[str, Any] = {"lease_until": from_now(self._settings.lease_seconds)}
        if progress is None and phase is None:
            with single(self._engine) as connection:
                held = sql.held(job.id, job.attempt)
                statement = update(jobs).where(*held).values(values).returning(c.cancel_requested)
                return sql.signal_of(connection.execute(statement).scalar_one_or_none())
        if progress is not None:
            values["progress"] = progress.to_dict()
        if phase is not None:
            values["phase"] = phase
        with self._engine.begin() as connection:
            renewed = advance(connection, sql.change_of(sql.held(job.id, job.attempt), values), event="progress")
        return sql.signal_of(None if renewed is None else renewed.cancel_requested)

    def got_further(self, job: Job, step: int) -> None:
        """Another attempt would go on from `step`. If none came so far before, the strikes until now are forgiven.

        Strikes count deaths without progress. The furthest step only grows, so a job that begins anew each time is
        forgiven nothing and ends.
        """
        further = c.furthest.is_(None) | (c.furthest < step)
        with single(self._engine) as connection:
            held = sql.held(job.id, job.attempt)
            connection.execute(update(jobs).where(*held, further).values(furthest=step, strikes=0))

    def settle_pixels(self, job: Job, pixels: int) -> None:
        """Count what the worker of a set found in it, where that is more than its headers said: in archives, say.

        Told again by another attempt it changes nothing, and nothing is given back. An attempt that was lost counts
        nothing.

        Raises:
            QuotaExceeded: it does not fit into what is left of the tenant's day.
        """
        with self._engine.begin() as connection:
            held = select(c.pixels).where(*sql.held(job.id, job.attempt)).with_for_update()
            known = connection.execute(held).scalar_one_or_none()
            if known is None or pixels <= known:
                return
            bound = connection.execute(select(tenants.c.pixels_per_day).where(tenants.c.name == job.tenant)).scalar()
            usage.accept_more(connection, job.tenant, job.kind, pixels - known, bound)
            connection.execute(update(jobs).where(*sql.held(job.id, job.attempt)).values(pixels=pixels))

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
            return self._conclude(connection, job, JobState.FAILED, sql.error_values(error) | spent)

    def canceled(self, job: Job) -> Job | None:
        """The worker has stopped as it was asked to. None: the attempt was lost."""
        with self._engine.begin() as connection:
            return advance(connection, self._endings[JobState.CANCELED], sql.bound_to(job))

    def release(self, job: Job, error: JobError) -> Job | None:
        """An attempt died for a reason that another may survive: queue the job again, or fail it after too many.

        The next attempt waits 2 s, the one after 8 s, and so on: time for whatever was away to come back.
        """
        with self._engine.begin() as connection:
            return self._strike(connection, sql.held(job.id, job.attempt), error, RETRY_SECONDS * 4**job.strikes)

    def hand_back(self, owner: str) -> list[Job]:
        """Queue again, without a strike, whatever a stopping worker still holds."""
        mine = [c.state == JobState.RUNNING, c.lease_owner == owner]
        with self._engine.begin() as connection:
            ids = connection.execute(select(c.id).where(*mine)).scalars().all()
            freed = [advance(connection, sql.change_of([c.id == job_id, *mine], sql.REQUEUED)) for job_id in ids]
        return [job for job in freed if job is not None]

    def give_way(self, job: Job) -> Job | None:
        """Queue a batch again, without a strike, behind the jobs of others whose turn it is. None: it was lost."""
        with self._engine.begin() as connection:
            where = [*sql.held(job.id, job.attempt), ~c.cancel_requested]
            return advance(connection, sql.change_of(where, {**sql.REQUEUED, "turn": job_files.turn_behind(job)}))

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
            connection.execute(delete(pictures).where(pictures.c.job_id == job_id))
            job_files.forget(connection, job_id)
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
        length, running_round, my_length, my_last = connection.execute(sql.QUEUE, bound).one()
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
        row = connection.execute(sql.INSERT, sql.row_of(new, turn)).mappings().one()
        connection.execute(sql.RECORD, sql.event_of(row, "state"))
        job_files.enter(connection, new.id, new.files or ())
        usage.accept(connection, new)  # last: a tenant's jobs wait for each other from here to the commit
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
            kind: sql.change_of([c.id == self._next_in_turn(kind), c.state == JobState.QUEUED], values)
            for kind in JobKind
        }

    @cached_property
    def _endings(self) -> Mapping[JobState, Change]:
        """How a held job ends: as succeeded or failed only if nobody has asked to cancel it."""
        wanted = [*sql.HELD, ~c.cancel_requested]
        where = {JobState.SUCCEEDED: wanted, JobState.FAILED: wanted, JobState.CANCELED: sql.HELD}
        return {state: sql.change_of(held, self._ending(state)) for state, held in where.items()}

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
        ended = advance(connection, self._endings[state], {**sql.bound_to(job), **values})
        return ended or advance(connection, self._endings[JobState.CANCELED], sql.bound_to(job))

    def _strike(self, connection: Connection, where: Where, error: JobError, retry_seconds: float = 0.0) -> Job | None:
        more = c.strikes + 1 < self._settings.max_attempts
        struck: Values = {"strikes": c.strikes + 1, "not_before": from_now(retry_seconds)}
        return (
            advance(connection, sql.change_of([*where, c.cancel_requested], self._ending(JobState.CANCELED)))
            or advance(connection, sql.change_of([*where, more], {**sql.REQUEUED, **struck}))
            or self._pass_over(connection, where, error)
            or advance(
                connection, sql.change_of(where, {**self._ending(JobState.FAILED), **sql.error_values(error), **struck})
            )
        )

    def _pass_over(self, connection: Connection, where: Where, error: JobError) -> Job | None:
        """Fail the file of a batch at which attempts end, and go on behind it; None: there is none."""
        batch = select(c.id).where(*where, c.files.is_not(None)).with_for_update()
        job_id = connection.execute(batch).scalar_one_or_none()
        if job_id is None or not job_files.give_up(connection, job_id, error):
            return None
        return advance(connection, sql.change_of(where, {**sql.REQUEUED, "strikes": 0}))

    def _struck(self, where: Where, job_id: str) -> Job | None:
        """Strike a lost job; None: it is lost no more, or the database refuses. Raises if that cannot be reached."""
        with self._engine.connect() as connection:
            try:
                with connection.begin():
                    return self._strike(connection, where, sql.LOST)
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


def _take_what_it_needs(connection: Connection, new: NewJob) -> None:
    """Keep model and dataset of a new job from being deleted under it. Base models are never deleted."""
    if new.model is not None and is_id("mdl", new.model):
        models.take(connection, new.model, new.tenant)
    if new.dataset_id is not None:
        datasets.take(connection, new.dataset_id, new.tenant)
