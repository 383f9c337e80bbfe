"""A store under test, and jobs to put into it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from store.blobs import Blobs
from store.ids import new_id
from store.job import Job, JobKind, NewJob, Progress
from store.jobs import Jobs
from store.models import Models
from store.settings import Settings

OLD_JOB: dict[str, Any] = {
    "id": "job_old",
    "tenant": "default",
    "kind": "denoise",
    "state": "queued",
    "turn": 0,
    "attempt": 0,
    "strikes": 0,
    "cancel_requested": False,
    "options": {"strength": 0.5},
    "input": {},
    "pixels": 12,
    "progress": Progress().to_dict(),
    "event_seq": 0,
    "timings": {},
}
"""A queued job as the first revision of the tables kept it, but for `created_at`."""


@dataclass
class Store:
    """One store under test."""

    settings: Settings
    engine: Engine
    jobs: Jobs
    blobs: Blobs
    models: Models

    def with_settings(self, **changed: Any) -> Jobs:
        """The same rows under other settings."""
        return Jobs(self.engine, self.settings.model_copy(update=changed))

    def queued(self, **values: Any) -> Job:
        """A job as the gateway makes it."""
        return self.jobs.create(new_job(**values)).job

    def running(self, owner: str = "worker:1", **values: Any) -> Job:
        """A job that a worker has claimed."""
        self.queued(**values)
        job = self.jobs.claim(JobKind.DENOISE, owner)
        assert job is not None
        return job


def new_job(**values: Any) -> NewJob:
    """A denoise job with little in it."""
    defaults: dict[str, Any] = {
        "id": new_id("job"),
        "kind": JobKind.DENOISE,
        "options": {"strength": 1.0},
        "input": {"width": 4, "height": 3},
        "input_key": "jobs/x/input",
        "pixels": 12,
    }
    return NewJob(**(defaults | values))


def open_store(settings: Settings, engine: Engine) -> Store:
    """A store over an open engine."""
    return Store(settings, engine, Jobs(engine, settings), Blobs(settings.blobs), Models(engine))
