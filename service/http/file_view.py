"""A file of a batch as the API shows it."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from service.http.job_view import EXAMPLE_ID, ErrorView
from store.job import Job, JobFile, JobState


class FileView(BaseModel):
    """One file of a batch, and what became of it."""

    model_config = ConfigDict(title="BatchFile")

    index: int = Field(description="Its place in the batch, from 0.", ge=0, examples=[0])
    name: str = Field(description="As it was sent; of an archive's file, as it stands there.", examples=["a/01.png"])
    state: JobState = Field(
        description="queued → succeeded | failed; canceled: the job ended before its turn.", examples=["succeeded"]
    )
    result: dict[str, Any] | None = Field(
        description="Facts about the result: media type, size, checksum, noise estimate, warnings.",
        examples=[{"media_type": "image/png", "bytes": 183201, "alpha": 0.0101, "sigma": 0.0004, "warnings": []}],
    )
    error: ErrorView | None = Field(description="Why there is none.", examples=[None])
    result_link: str | None = Field(description="The bytes.", examples=[f"/jobs/{EXAMPLE_ID}/results/0"])
    report_link: str | None = Field(description="The numbers.", examples=[f"/jobs/{EXAMPLE_ID}/results/0/report"])


class FileList(BaseModel):
    """Files of a batch, in order. While the job is queued or unpacked, an archive stands for what it holds."""

    files: list[FileView]
    next_cursor: str | None = Field(description="Pass it as `cursor` for the next page; null on the last one.")


def file_view(job: Job, file: JobFile, base: str) -> FileView:
    """Show a file with links under `base` ("" or "/v1", behind any proxy prefix)."""
    path = f"{base}/jobs/{job.id}/results/{file.number}"
    skipped = job.state.final and file.state is JobState.QUEUED
    return FileView(
        index=file.number,
        name=file.name,
        state=JobState.CANCELED if skipped else file.state,
        result=None if file.result is None else dict(file.result),
        error=None if file.error is None else ErrorView(code=file.error.code, detail=file.error.detail),
        result_link=path if file.result_key else None,
        report_link=f"{path}/report" if file.report_key else None,
    )
