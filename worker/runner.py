"""Claim, work, outcome: a job from the doorbell to its end, and nothing left of an attempt that does not count."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from store.blobs import Blobs, checkpoints_prefix
from store.broker import Broker
from store.errors import StoreError
from store.job import Job, JobKind, JobState, Outcome
from store.jobs import Jobs
from store.settings import Settings
from store.traces import job_span, past_span, say_outcome
from worker.attempt import Attempt
from worker.errors import Canceled, GivesWay, LeaseLost, Refused, Retriable, ShuttingDown, Stopped
from worker.explain import CRASHED, explain
from worker.metrics import WorkerMetrics
from worker.shutdown import GracePeriod
from worker.stages import Stages

log = structlog.get_logger(__name__)

Work = Callable[[Attempt, Stages], Outcome]
WELL = frozenset({"succeeded", "canceled", "handed_back", "gave_way"})
"""Outcomes that are no error in a trace."""

AWAY = (OperationalError, InterfaceError, PoolTimeout)
"""What a database that is away, or too busy, raises: trying again may help."""


class Runner:
    """Runs jobs of one kind, one at a time, in one process."""

    def __init__(
        self,
        kind: JobKind,
        owner: str,
        work: Work,
        jobs: Jobs,
        blobs: Blobs,
        broker: Broker,
        settings: Settings,
        metrics: WorkerMetrics,
        grace: GracePeriod,
        device: str,
    ) -> None:
        """`device` is where the work computes, as torch names it."""
        self._kind = kind
        self._owner = owner
        self._work = work
        self._jobs = jobs
        self._blobs = blobs
        self._broker = broker
        self._settings = settings
        self._metrics = metrics
        self._grace = grace
        self.device = device

    def run_while_rung(self) -> int:
        """Run the job whose turn it is, and another one for each message that still waits; how many jobs were run.

        A message that is taken here does not go through Celery's main process and its pipe: 4 ms of CPU a job while
        many wait. It counts as one taken by Celery does: if this process dies, the sweep rings again. Raises as
        `run_next`.
        """
        done = int(self.run_next())
        while not self._grace.begun and self._broker.take(self._kind):
            done += self.run_next()
        return done

    def run_next(self) -> bool:
        """Run the job whose turn it is; False: there was none, or this worker is stopping.

        Raises:
            Retriable: with `fatal` set: the job is back in the queue, and this process must exit.
        """
        self._grace.install()
        if self._grace.begun:
            return False
        job = self._jobs.claim(self._kind, self._owner)
        if job is None:
            return False
        ids: dict[str, str | int] = {
            "job_id": job.id,
            "request_id": job.request_id or "",
            "attempt": job.attempt,
        }
        span = {f"b2s.{name}": value for name, value in ids.items()}
        with structlog.contextvars.bound_contextvars(**ids), job_span(self._kind, job.traceparent, span):
            self._run(job)
        return True

    def _run(self, job: Job) -> None:
        stages = Stages()
        if job.started_at is not None:
            stages.add("queued", (job.started_at - job.created_at).total_seconds())
            past_span("queued", job.created_at, job.started_at)
        attempt = Attempt(self._jobs, job, self._settings.heartbeat_seconds, self._grace, self._settings.stuck_seconds)
        with attempt:
            ended: Outcome | Stopped
            try:
                ended = self._work(attempt, stages)
            except Exception as error:
                ended = explain(error)
            outcome = self._conclude(job, ended, stages)
        self._metrics.observe_attempt(job, outcome, stages.seconds, attempt.progress.done)
        say_outcome(outcome, well=outcome in WELL)
        log.info("job_ended", outcome=outcome, kind=job.kind, pixels=job.pixels, seconds=stages.seconds)
        if self._settings.max_running_per_tenant:
            self._broker.ring(self._kind, job.id)  # the tenant is below its cap again, and its rings were used up
        if isinstance(ended, Retriable) and ended.fatal:
            raise ended

    def _conclude(self, job: Job, ended: Outcome | Stopped, stages: Stages) -> str:
        """Record the end of an attempt; what became of it, in a word for logs and metrics."""
        after = self._recorded(job, ended, stages)
        if after is not None and after.state.final:
            self._broker.announce(job.id)
        if after is None or after.state is not JobState.SUCCEEDED:
            self._sweep_up(self._below(f"jobs/{job.id}/{job.attempt}"))
            if after is not None and isinstance(ended, Outcome) and ended.model is not None:
                self._sweep_up([ended.model.weights_key])  # the job was canceled first, so the model never appeared
        if after is not None and after.state.final and job.kind is JobKind.FINETUNE:
            self._sweep_up(self._below(checkpoints_prefix(job.id)))
        if after is None:
            return "lost"
        if isinstance(ended, ShuttingDown):
            self._broker.ring(self._kind, job.id)
            return "handed_back"
        if isinstance(ended, GivesWay) and after.state is JobState.QUEUED:
            self._broker.ring(self._kind, job.id)
            return "gave_way"
        return "retried" if after.state is JobState.QUEUED else after.state.value

    def _transition(self, job: Job, ended: Outcome | Stopped, stages: Stages) -> Job | None:
        match ended:
            case Outcome():
                return self._jobs.finish(job, ended, self.device) or self._already_finished(job)
            case Canceled():
                return self._jobs.canceled(job)
            case Refused(error=error):
                return self._jobs.fail(job, error, stages.seconds, self.device)
            case Retriable(error=error):
                return self._jobs.release(job, error)
            case GivesWay():
                return self._jobs.give_way(job)
            case ShuttingDown():
                return next(iter(self._jobs.hand_back(self._owner)), None)
            case LeaseLost() | Stopped():
                return None

    def _already_finished(self, job: Job) -> Job | None:
        """The job, if it was this attempt that succeeded: a commit can arrive although its answer did not."""
        now = self._jobs.get_many([job.id]).get(job.id)
        return now if now is not None and (now.state, now.attempt) == (JobState.SUCCEEDED, job.attempt) else None

    def _recorded(self, job: Job, ended: Outcome | Stopped, stages: Stages) -> Job | None:
        """The job after its end is written; None: it is not, and the sweep decides once the lease runs out.

        An end that the database refuses as such (a text that it cannot keep, say) it would refuse again: the attempt
        then counts as one that crashed, so that it is struck, and this process goes on to the next job.
        """
        try:
            return self._insisted(lambda: self._transition(job, ended, stages))
        except SQLAlchemyError as error:
            log.error("outcome_refused", exc_info=error)
        try:
            return self._insisted(lambda: self._jobs.release(job, CRASHED))
        except SQLAlchemyError as error:
            log.error("outcome_not_recorded", reason=str(error))
            return None

    def _insisted(self, transition: Callable[[], Job | None]) -> Job | None:
        """Try for as long as the lease can last: a database that restarts must not cost a finished job its result."""
        deadline = time.monotonic() + self._settings.lease_seconds
        wait = 0.1
        while True:
            try:
                return transition()
            except AWAY as error:
                if time.monotonic() > deadline:
                    log.error("outcome_not_recorded", reason=str(error))
                    return None
                time.sleep(wait)
                wait = min(2 * wait, 2.0)

    def _below(self, prefix: str) -> Iterator[str]:
        return (blob.key for blob in self._blobs.below(prefix))

    def _sweep_up(self, keys: Iterable[str]) -> None:
        """Delete blobs that nothing names any more."""
        try:
            self._blobs.delete(keys)
        except StoreError as error:
            log.warning("attempt_not_swept_up", reason=str(error))
