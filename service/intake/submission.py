"""From a checked request to a job and its answer: bytes first, then the row, then the ring.

What is answered with 202 has its bytes stored and its row committed. Bytes whose row was not made are removed again;
where this process dies in between, the sweep does it, and it rings for a row that nobody rang for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import IO, Annotated, Any

import structlog
from anyio import CancelScope, to_thread
from fastapi import Depends, Header, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError

from service.edge.access import Caller, CallerDep
from service.http import problems
from service.http.parameters import Prefer
from service.http.preferences import wait_seconds
from service.services import BasePath, Services, ServicesDep
from store.errors import IdempotencyConflict, StoreError
from store.ids import new_id
from store.job import Created, Job, NewJob
from store.traces import traceparent

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description=(
            "Any unique text, a UUID for one. Sending the same image, options and key again gives the first job again "
            "instead of a second one, so a request may be retried safely."
        ),
        examples=["8e03978e-40d5-43e8-bc93-6894a57f9324"],
    ),
]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Submitter:
    """Who wants a job made, and how it should be answered."""

    services: Services
    caller: Caller
    base: str
    request_id: str
    idempotency_key: str | None
    prefer: str | None


async def _submitter(
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    base: BasePath,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> Submitter:
    return Submitter(services, caller, base, request.state.request_id, idempotency_key, prefer)


SubmitterDep = Annotated[Submitter, Depends(_submitter)]


class Submission:
    """One job in the making: within its context bytes are stored under its id; on exit they go, unless it was made.

    Attributes:
        job_id: of the job, if one is made.
        seconds: how long the answer waits for the end of the job; None: it was not asked to.
    """

    def __init__(self, submitter: Submitter, wait: float | None) -> None:
        """`wait` is what the query says of waiting."""
        self.job_id = new_id("job")
        self.seconds = wait_seconds(wait, submitter.prefer, submitter.services.settings.max_wait_seconds)
        self._submitter = submitter
        self._services = submitter.services
        self._stored = False
        self._used = False

    async def __aenter__(self) -> Submission:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stored and not self._used:
            with CancelScope(shield=True):
                await to_thread.run_sync(self._remove)

    def put(self, key: str, content: bytes | IO[bytes]) -> None:
        """Store bytes under a key of this job. Blocking. Raises BlobStoreError."""
        self._stored = True
        self._services.blobs.put(key, content)

    def record(
        self, new: NewJob, content: Callable[[], bytes | IO[bytes]], body: Callable[[], Mapping[str, Any]]
    ) -> Created:
        """Store the input and queue the job; or find the job that the same request with the same key made before.

        Blocking. Begin it after that.

        Args:
            new: the job, but for who asks.
            content: the bytes of its input; of a batch none, whose files are stored as they come.
            body: what makes two requests the same, JSON-ready.

        Raises:
            IdempotencyMismatch: the key came before with another body.
            QueueFull, QuotaExceeded, TooManyJobs, BlobStoreError, …: from the store; nothing is left behind.
        """
        asks = self._submitter
        new = replace(
            new,
            tenant=asks.caller.tenant,
            allowance=asks.caller.allowance,
            request_id=asks.request_id,
            traceparent=traceparent(),
            idempotency_key=asks.idempotency_key,
        )
        try:
            if asks.idempotency_key is not None:
                new = replace(new, body_hash=_hash(body()))
                earlier = self._services.jobs.find_replay(new.tenant, asks.idempotency_key, new.body_hash or "")
                if earlier is not None:
                    return Created(earlier, replayed=True)
            return self._create(new, content())
        except IdempotencyConflict as error:
            raise problems.IdempotencyMismatch(str(error)) from error

    def _create(self, new: NewJob, content: bytes | IO[bytes]) -> Created:
        if new.input_key is not None:
            self.put(new.input_key, content)
        try:
            created = self._services.jobs.create(new)
        except SQLAlchemyError:
            self._used = True  # the job may be there, though its answer was lost: the sweep knows later
            raise
        self._used = not created.replayed  # else the same request raced us to the row
        return created

    async def begin(self, created: Created, uploaded: int) -> tuple[Job, dict[str, str]]:
        """Ring for a job that is new, and wait for its end if that was asked for; the job, and the answer's headers.

        Args:
            uploaded: bytes that the request brought.
        """
        job = created.job
        structlog.contextvars.bind_contextvars(job_id=job.id)
        headers = {"Location": f"{self._submitter.base}/jobs/{job.id}"}
        if created.replayed:
            headers["Idempotency-Replayed"] = "true"
        else:
            self._services.metrics.observe_upload(uploaded)
            self._services.notifier.notify(job)
        if self.seconds is not None:
            headers["Preference-Applied"] = f"wait={self.seconds:g}"
            job = await self._services.ended(job, self.seconds)
        return job, headers

    async def answer(self, job: Job, headers: Mapping[str, str]) -> JSONResponse:
        """The job: 200 if it was waited for and has ended, else 202."""
        view = await self._services.view(job, self._submitter.base)
        finished = self.seconds is not None and job.state.final
        return JSONResponse(view.model_dump(mode="json"), status_code=200 if finished else 202, headers=headers)

    def _remove(self) -> None:
        try:
            self._services.blobs.delete_job(self.job_id)
        except StoreError:
            log.warning(
                "bytes without a job were left behind; the sweep removes them", job_id=self.job_id, exc_info=True
            )


def _hash(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
