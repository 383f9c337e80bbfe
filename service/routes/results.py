"""What a finished job made: its image, and the report as numbers."""

import json
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from service.edge.access import READ
from service.http import openapi, problems
from service.http.downloads import StoredFile, gone, serve
from service.http.job_of_path import JobDep
from service.http.report_view import FineTuneReportView, ReportView
from service.routes.batches import archive_of
from service.services import Services, ServicesDep
from store.errors import BlobMissing
from store.job import Job, JobState

router = APIRouter(tags=["results"])

RETRY_SECONDS = "1"

MAX_WARNINGS_BYTES = 2048
"""Longest `B2S-Warnings`: proxies drop answers whose headers pass 4 or 8 KiB. Of a longer list it tells the length."""


@router.head("/jobs/{job_id}/result", include_in_schema=False, dependencies=[READ])
@router.get(
    "/jobs/{job_id}/result",
    operation_id="get_result",
    summary="Get the result",
    dependencies=[READ],
    response_class=Response,
    responses=openapi.RESULT_RESPONSES,
)
async def get_result(request: Request, services: ServicesDep, job: JobDep) -> Response:
    """The bytes that the job made, with `ETag` and `Range`. 409 while they are not there, 410 once they are removed.

    Of a batch: a zip of all results, or a tar if `Accept` prefers it; after a cancel, of those that were done.
    """
    if job.files is not None:
        return await archive_of(request, services, job)
    return await serve(request, services.blobs, result_file(job), result_headers(job))


@router.get(
    "/jobs/{job_id}/report",
    operation_id="get_report",
    summary="Get the noise report",
    dependencies=[READ],
    response_model=ReportView | FineTuneReportView,
    responses=openapi.REPORT_RESPONSES,
)
async def get_report(services: ServicesDep, job: JobDep) -> Response:
    """What was measured: the noise, what the model took away, and warnings where the result should not be trusted.

    Of a fine-tune: the new model's score against its base's, the set's noise, and a verdict for each file.
    """
    return JSONResponse(json.loads(await _read(services, report_key(job))))


def result_file(job: Job) -> StoredFile:
    """The result of a job as a file to serve.

    Raises:
        ResultNotReady, JobHasNoResult, ResultGone: there is none (yet, at all, any more).
    """
    require_success(job)
    assert job.result_key is not None and job.result is not None
    facts = job.result
    name = f"{job.id}{facts['extension']}"
    return StoredFile(job.result_key, facts["bytes"], facts["sha256"], facts["media_type"], name)


def result_headers(job: Job) -> dict[str, str]:
    """What a client that receives the image alone still wants to know."""
    facts: dict[str, Any] = job.result or {}
    named = {
        "B2S-Job-Id": job.id,
        "B2S-Model": job.used_model,
        "B2S-Noise-Alpha": facts.get("alpha"),
        "B2S-Noise-Sigma": facts.get("sigma"),
    }
    warnings = facts.get("warnings", [])
    told = json.dumps(warnings)  # ASCII, as RFC 9110 asks of header fields
    named["B2S-Warnings"] = told if len(told) <= MAX_WARNINGS_BYTES else str(len(warnings))
    return {name: str(value) for name, value in named.items() if value is not None}


def require_success(job: Job) -> None:
    """Raise ResultNotReady, JobHasNoResult or ResultGone unless the job made a result that is still there."""
    if not job.state.final:
        raise problems.ResultNotReady(
            f"The job is {job.state}. Wait with GET /jobs/{job.id}?wait=30, or try again in {RETRY_SECONDS} s.",
            headers={"Retry-After": RETRY_SECONDS},
            job_state=job.state,
        )
    if job.state is not JobState.SUCCEEDED:
        reason = f"failed: {job.error.detail}" if job.error else "was canceled before it was done."
        raise problems.JobHasNoResult(f"The job {reason}", job_state=job.state)
    if job.purged:
        raise gone()


def report_key(job: Job) -> str:
    """Where the numbers of a job's report lie. Raises as `require_success`, and ReportNotKept."""
    require_success(job)
    if job.files is not None:
        raise problems.ReportNotKept(f"Each file of a batch has its own: GET /jobs/{job.id}/results/0/report.")
    if job.report_key is None:
        raise problems.ReportNotKept("This job was posted with report=false. Post the image again without that option.")
    return job.report_key


async def _read(services: Services, key: str) -> bytes:
    try:
        return await to_thread.run_sync(services.blobs.get, key)
    except BlobMissing:
        raise gone() from None
