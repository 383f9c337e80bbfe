"""A job as everybody sees it: frozen, read from its row, changed by nobody but `store.jobs.Jobs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import RowMapping

from store.model import NewModel
from store.tenants import Allowance

DEFAULT_TENANT = "default"


class JobKind(StrEnum):
    """What a job does. Each kind has a queue and workers of its own."""

    DENOISE = "denoise"
    FINETUNE = "finetune"


class JobState(StrEnum):
    """Where a job is: queued → running → succeeded | failed | canceled."""

    QUEUED = "queued"
    """Waits for a worker: new, or given back by an attempt that died."""

    RUNNING = "running"
    """A worker holds the lease and renews it."""

    SUCCEEDED = "succeeded"
    """Final. The result lies under `result_key` until the job expires; of a batch, at least one file has one."""

    FAILED = "failed"
    """Final. `error` says why; trying the same again would fail again, or did so too often."""

    CANCELED = "canceled"
    """Final. Somebody asked for it; there is no result, but a batch keeps those of the files that were done."""

    @property
    def final(self) -> bool:
        return self in FINAL


FINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED})


class Signal(StrEnum):
    """What a worker hears when it renews its lease."""

    CONTINUE = "continue"
    CANCEL = "cancel"
    """Stop and call `Jobs.canceled`."""
    LOST = "lost"
    """The attempt is no longer yours: stop, write nothing."""


@dataclass(frozen=True)
class Progress:
    """`done` of `total` units, and for long jobs whatever a chart wants to draw (`detail`)."""

    done: int = 0
    total: int | None = None
    unit: str = "tile"
    detail: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class JobError:
    """Why a job failed: a stable slug, and words for the person who sent it."""

    code: str
    detail: str


@dataclass(frozen=True)
class JobFile:
    """One file of a batch.

    Attributes:
        number: its place, from 0; where results of it are named.
        name: as its sender calls it: data, never a path of ours.
        pixels: as its header says; 0 if it is an archive or no image.
        archive: whether a worker puts what it holds in its place.
        state: queued, succeeded or failed; what a cancel came before stays queued.
        result: facts about the result, as `Outcome.result`.
    """

    number: int
    name: str
    key: str
    bytes: int
    pixels: int
    archive: bool = False
    state: JobState = JobState.QUEUED
    result_key: str | None = None
    report_key: str | None = None
    result: Mapping[str, Any] | None = None
    error: JobError | None = None


@dataclass(frozen=True)
class NewJob:
    """What `Jobs.create` needs to know.

    Attributes:
        id: from `new_id("job")`; made by the caller because the input is stored under it first.
        input: what the probe saw, JSON-ready.
        input_key: blob key of the upload.
        pixels: width × height × frames, for bounds and metrics.
        body_hash: SHA-256 of body and options in hex, compared when an idempotency key comes again.
        allowance: how much the tenant may use.
        model: id of the model that does the work; of a fine-tune, the one it starts from.
        bases: SHA-256 by name of the base models it may be run with: the same for every worker and attempt.
        needs: what its worker has to know, `JobOptions.needs`.
        traceparent: the span of the request, if it is traced; the worker's becomes its child.
        dataset_id: the dataset a fine-tune learns from, kept from being changed until the job has ended.
        files: of a batch; None: it is none.
    """

    id: str
    kind: JobKind
    options: Mapping[str, Any]
    input: Mapping[str, Any]
    input_key: str | None
    pixels: int
    unit: str = "tile"
    model: str | None = None
    bases: Mapping[str, str] = field(default_factory=dict)
    needs: int = 0
    tenant: str = DEFAULT_TENANT
    allowance: Allowance = field(default_factory=Allowance)
    request_id: str | None = None
    traceparent: str | None = None
    idempotency_key: str | None = None
    body_hash: str | None = None
    dataset_id: str | None = None
    files: Sequence[JobFile] | None = None


@dataclass(frozen=True)
class Created:
    """A job, and whether it is an earlier answer to the same idempotency key."""

    job: Job
    replayed: bool


@dataclass(frozen=True)
class Outcome:
    """What an attempt made. The blobs lie already where the keys say; they count once `Jobs.finish` returns a job.

    Attributes:
        result: JSON-ready facts about the result: `media_type`, `extension`, `bytes`, `sha256`, `model`,
            `alpha`, `sigma` (native units)…
        timings: seconds by stage.
        model: the model that a fine-tune made; it exists from the moment at which the job has succeeded.
    """

    result_key: str | None
    result: Mapping[str, Any]
    timings: Mapping[str, float]
    progress: Progress = field(default_factory=Progress)
    report_key: str | None = None
    picture_key: str | None = None
    model: NewModel | None = None


@dataclass(frozen=True)
class Job:
    """One job, as its row was when it was read.

    Attributes:
        attempt: how often a worker has claimed it; a result counts only from the attempt that holds the lease.
        strikes: attempts that died without getting further; too many of them fail the job.
        lease_owner: the worker process that runs it.
        phase, progress: what its attempt does, and how far it is.
        files: how many a batch brought; None: the job is no batch.
        event_seq: number of the newest line of its history.
        expires_at: when its bytes go; `purged_at` says when they went.
    """

    id: str
    tenant: str
    kind: JobKind
    state: JobState
    attempt: int
    strikes: int
    lease_owner: str | None
    cancel_requested: bool
    model: str | None
    bases: dict[str, str] | None
    dataset_id: str | None
    options: dict[str, Any]
    input: dict[str, Any]
    input_key: str | None
    pixels: int
    files: int | None
    request_id: str | None
    traceparent: str | None
    idempotency_key: str | None
    body_hash: str | None
    phase: str | None
    progress: Progress
    event_seq: int
    result_key: str | None
    report_key: str | None
    picture_key: str | None
    result: dict[str, Any] | None
    timings: dict[str, float]
    error: JobError | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None
    purged_at: datetime | None

    @property
    def purged(self) -> bool:
        """Whether its bytes are gone."""
        return self.purged_at is not None

    @property
    def used_model(self) -> str | None:
        """The model that made a denoise job's result, which may be another than was foreseen; else `model`."""
        made_by = (self.result or {}).get("model") if self.kind is JobKind.DENOISE else None
        return made_by or self.model

    @classmethod
    def from_row(cls, row: RowMapping) -> Job:
        values = {name: row[name] for name in cls.__dataclass_fields__ if name not in ("progress", "error")}
        values |= {"kind": JobKind(row["kind"]), "state": JobState(row["state"])}
        error = JobError(row["error_code"], row["error_detail"]) if row["error_code"] else None
        return cls(**values, progress=Progress(**row["progress"]), error=error)


@dataclass(frozen=True)
class JobEvent:
    """One line of a job's history; `seq` counts from 1 without gaps, so a reader knows what it missed."""

    job_id: str
    seq: int
    type: str
    data: dict[str, Any]
    at: datetime


@dataclass(frozen=True)
class Page:
    """Jobs, newest first, and the cursor of the next page (None: that was all)."""

    jobs: list[Job]
    next_cursor: str | None


@dataclass(frozen=True)
class QueueStats:
    """How long a queue is, and how many seconds its oldest job has waited (0.0 when empty)."""

    queued: int
    running: int
    oldest_seconds: float
