"""A job as the API shows it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from store.job import Job, JobKind, JobState

EXAMPLE_ID = "job_0192f0c1a2b37c4d8e5f60718293a4b5"


class ProgressView(BaseModel):
    """How far the running attempt is."""

    done: int = Field(description="Units done.", examples=[3])
    total: int | None = Field(description="Units in all; null until known.", examples=[16])
    unit: str = Field(description="What is counted.", examples=["tile"])
    detail: Mapping[str, Any] = Field(
        default_factory=dict,
        description="Of a fine-tune: seconds left, loss parts, α̂, σ̂, held-out score. The events carry all points.",
        examples=[{"seconds_left": 240.0, "alpha": 0.011, "sigma": 0.004, "score": -1.91, "base_score": -1.87}],
    )


class ErrorView(BaseModel):
    """Why a job failed."""

    code: str = Field(description="Stable slug for programs.", examples=["broken_image"])
    detail: str = Field(description="Words for people, with the remedy.")


class LinksView(BaseModel):
    """Where to go from here; paths on this server. A link is null while there is nothing behind it."""

    self: str = Field(examples=[f"/jobs/{EXAMPLE_ID}"])
    events: str = Field(description="Server-Sent Events of this job.", examples=[f"/jobs/{EXAMPLE_ID}/events"])
    cancel: str | None = Field(description="POST here to stop it.", examples=[None])
    result: str | None = Field(description="The bytes.", examples=[f"/jobs/{EXAMPLE_ID}/result"])
    results: str | None = Field(description="Of a batch, what became of each file.", examples=[None])
    report: str | None = Field(description="The numbers.", examples=[f"/jobs/{EXAMPLE_ID}/report"])
    report_picture: str | None = Field(
        description="The numbers drawn, when this is first asked for.", examples=[f"/jobs/{EXAMPLE_ID}/report.png"]
    )
    preview: str | None = Field(
        description="The image as a PNG for a screen, before and after: see its parameters.",
        examples=[f"/jobs/{EXAMPLE_ID}/preview.png"],
    )


class JobView(BaseModel):
    """One job: what was asked, how far it is, what came out."""

    model_config = ConfigDict(title="Job")

    id: str = Field(description="Sorts by time of creation.", examples=[EXAMPLE_ID])
    kind: JobKind = Field(description="What the job does.", examples=["denoise"])
    state: JobState = Field(description="queued → running → succeeded | failed | canceled.", examples=["succeeded"])
    progress: ProgressView
    phase: str | None = Field(description="What the running attempt does right now.", examples=["compute"])
    queue_position: int | None = Field(description="1 is next; null unless queued.", ge=1, examples=[None])
    attempt: int = Field(description="How many times a worker has taken it.", ge=0, examples=[1])
    cancel_requested: bool = Field(description="Whether it was asked to stop.")
    model: str | None = Field(
        description="Model that does the work; of a fine-tune, the one it starts from.", examples=["base-gray"]
    )
    dataset_id: str | None = Field(description="Dataset that a fine-tune learns from.", examples=[None])
    options: dict[str, Any] = Field(description="The options it runs with, defaults filled in.")
    input: dict[str, Any] = Field(
        description="What the header of the upload says.",
        examples=[{"format": "png", "width": 512, "height": 512, "channels": 1, "dtype": "uint8", "frames": 1}],
    )
    result: dict[str, Any] | None = Field(
        description="Facts about the result: media type, size, checksum, noise estimate.",
        examples=[{"media_type": "image/png", "bytes": 183201, "alpha": 0.0101, "sigma": 0.0004}],
    )
    error: ErrorView | None = Field(description="Why it failed.", examples=[None])
    timings: dict[str, float] = Field(
        description="Seconds by stage.", examples=[{"queued": 0.01, "decode": 0.004, "compute": 0.41, "encode": 0.02}]
    )
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None = Field(description="When the bytes of a finished job are removed.")
    deleted_at: datetime | None = Field(description="When the bytes were removed; the result then answers 410.")
    links: LinksView


class JobList(BaseModel):
    """A page of jobs, newest first."""

    jobs: list[JobView]
    next_cursor: str | None = Field(description="Pass it as `cursor` for the next page; null on the last one.")


def job_view(job: Job, base: str, queue_position: int | None = None) -> JobView:
    """Show `job` with links under `base` ("" or "/v1", behind any proxy prefix)."""
    return JobView(
        id=job.id,
        kind=job.kind,
        state=job.state,
        progress=ProgressView(**job.progress.to_dict()),
        phase=None if job.state.final else job.phase,
        queue_position=queue_position,
        attempt=job.attempt,
        cancel_requested=job.cancel_requested,
        model=job.used_model,
        dataset_id=job.dataset_id,
        options=job.options,
        input=job.input,
        result=job.result,
        error=None if job.error is None else ErrorView(code=job.error.code, detail=job.error.detail),
        timings=job.timings,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        expires_at=job.expires_at,
        deleted_at=job.purged_at,
        links=_links(job, f"{base}/jobs/{job.id}"),
    )


def _links(job: Job, path: str) -> LinksView:
    return LinksView(
        self=path,
        events=f"{path}/events",
        cancel=None if job.state.final else f"{path}/cancel",
        result=f"{path}/result" if job.result_key or _has_archive(job) else None,
        results=f"{path}/results" if job.files is not None and not job.purged else None,
        report=f"{path}/report" if job.report_key else None,
        report_picture=f"{path}/report.png" if job.picture_key or job.report_key else None,
        preview=f"{path}/preview.png" if job.result_key and job.kind is JobKind.DENOISE else None,
    )


def _has_archive(job: Job) -> bool:
    """Whether a batch that has ended has results to pack."""
    return job.files is not None and job.state.final and not job.purged and bool((job.result or {}).get("succeeded"))
