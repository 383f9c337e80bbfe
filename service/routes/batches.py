"""Results of a batch: a list of its files, each file's result and report, and all of them as one archive."""

import json
import time
from collections.abc import Sequence
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import Field

from service.edge.access import READ
from service.http import openapi, problems
from service.http.batch_archive import packed_files
from service.http.downloads import StoredFile, client_has, gone, serve
from service.http.file_view import FileList, file_view
from service.http.job_of_path import JobDep
from service.http.packing import TAR, ZIP, entity_tag, pack
from service.http.parameters import PlainText, WaitQuery
from service.http.preferences import weight_of
from service.http.report_view import ReportView
from service.services import BasePath, Services, ServicesDep
from store.errors import BlobMissing
from store.job import Job, JobFile, JobState

router = APIRouter(tags=["results"])

RETRY_SECONDS = "1"
EXTENSIONS = {ZIP: ".zip", TAR: ".tar"}

GATHER_SECONDS = 1.0
"""How long a held list goes on gathering files once it has one: else a quick batch would be asked for each of them."""

PAGE_BYTES = 64 * 2**20
"""A page of results ends with the one that reaches this, so that who reads it may hold it in memory."""

Index = Annotated[int, Path(ge=0, le=2**31 - 1, description="Place of the file in the batch, from 0.", examples=[0])]
Which = Annotated[
    PlainText,
    Path(
        max_length=2000,
        description="A file of the batch: its index, from 0; or its name, the first of that name. Digits are an index.",
        examples=["0"],
    ),
]


class ResultsQuery(WaitQuery):
    """Which files to list, and how long to wait for one that has ended."""

    name: PlainText | None = Field(None, max_length=2000, description="Only files of this name.")
    limit: int = Field(1000, ge=1, le=1000, description="Files a page.")
    cursor: int | None = Field(
        None, ge=0, le=2**31 - 1, description="`next_cursor` of the page before.", examples=[1000]
    )


@router.get(
    "/jobs/{job_id}/results",
    operation_id="list_results",
    summary="List the files of a batch",
    dependencies=[READ],
    response_model=FileList,
    responses=openapi.FILE_LIST_RESPONSES,
)
async def list_results(
    request: Request, services: ServicesDep, job: JobDep, base: BasePath, query: Annotated[ResultsQuery, Query()]
) -> FileList | Response:
    """Every file with what became of it, also while the job runs and after a cancel.

    With `Accept: application/x-tar` the files that have ended, from the cursor to the first that has not, with their
    results: a tar whose first member, `results.json`, has the list and `next_cursor`. With a wait, the answer is held
    until there is one, a second longer for those behind it, and never beyond the end of the job.
    """
    job, files = await _followed(services, job, query)
    accept = request.headers.get("accept")
    if weight_of(accept, TAR) > weight_of(accept, "application/json"):
        return await _page_of_results(services, job, files, query)
    more = str(files[query.limit].number) if len(files) > query.limit else None
    return FileList(files=[file_view(job, file, base) for file in files[: query.limit]], next_cursor=more)


@router.get(
    "/jobs/{job_id}/results/{index:int}/report",
    operation_id="get_result_report",
    summary="Get the noise report of a file of a batch",
    dependencies=[READ],
    response_model=ReportView,
    responses=openapi.FILE_REPORT_RESPONSES,
)
async def get_result_report(services: ServicesDep, job: JobDep, index: Index) -> Response:
    """What was measured in one image, as `GET /jobs/{id}/report` tells of a single one."""
    file = await _file(services, job, str(index))
    _require_result(job, file)
    if file.report_key is None:
        raise problems.ReportNotKept("This job was posted with report=false. Post the image again without that option.")
    try:
        return JSONResponse(json.loads(await to_thread.run_sync(services.blobs.get, file.report_key)))
    except BlobMissing:
        raise gone() from None


@router.head("/jobs/{job_id}/results/{which:path}", include_in_schema=False, dependencies=[READ])
@router.get(
    "/jobs/{job_id}/results/{which:path}",
    operation_id="get_file_result",
    summary="Get the result of a file of a batch",
    dependencies=[READ],
    response_class=Response,
    responses=openapi.FILE_RESULT_RESPONSES,
)
async def get_file_result(request: Request, services: ServicesDep, job: JobDep, which: Which) -> Response:
    """The image, with `ETag` and `Range`, as soon as it is done: also while the job runs, and after a cancel."""
    file = await _file(services, job, which)
    facts = _require_result(job, file)
    assert file.result_key is not None
    name = f"{job.id}-{file.number}{facts['extension']}"
    stored = StoredFile(file.result_key, facts["bytes"], facts["sha256"], facts["media_type"], name)
    return await serve(request, services.blobs, stored, {"B2S-Job-Id": job.id, "B2S-Model": facts["model"]})


async def archive_of(request: Request, services: Services, job: Job) -> Response:
    """All results of a batch as a zip, or a tar if `Accept` prefers it, written while it is sent.

    Raises:
        ResultNotReady, JobHasNoResult, ResultGone: there is none (yet, at all, any more).
    """
    if not job.state.final:
        raise problems.ResultNotReady(
            f"The job is {job.state}. Each file's result is there as soon as it is done: GET /jobs/{job.id}/results.",
            headers={"Retry-After": RETRY_SECONDS},
            job_state=job.state,
        )
    _require_batch(job)
    files = await to_thread.run_sync(services.job_files.page, job.id)
    packed = await to_thread.run_sync(packed_files, job, files, {"job": job.id})
    if len(packed) == 1:
        reason = f"failed: {job.error.detail}" if job.error else f"{job.state} before a file was done."
        raise problems.JobHasNoResult(f"The job {reason}", job_state=job.state)
    accept = request.headers.get("accept")
    media_type = TAR if weight_of(accept, TAR) > weight_of(accept, ZIP) else ZIP
    tag = entity_tag(packed, media_type)
    headers = {
        "B2S-Job-Id": job.id,
        "Vary": "Accept",
        "ETag": f'"{tag}"',
        "Accept-Ranges": "none",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f'attachment; filename="{job.id}{EXTENSIONS[media_type]}"',
    }
    if client_has(request, tag):
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        return Response(headers=headers, media_type=media_type)
    return StreamingResponse(pack(services.blobs, packed, media_type), headers=headers, media_type=media_type)


async def _followed(services: Services, job: Job, query: ResultsQuery) -> tuple[Job, Sequence[JobFile]]:
    """The files from the cursor on, one more than a page has, once the wait is over; and the job as it is then."""
    first, deadline = query.cursor or 0, time.monotonic() + min(query.wait or 0.0, services.settings.max_wait_seconds)
    gathering = False
    while True:
        _require_batch(job)
        files = await to_thread.run_sync(services.job_files.page, job.id, first, query.limit + 1, query.name)
        ended = len(_ended(job, files))
        if ended and not gathering:
            gathering, deadline = True, min(deadline, time.monotonic() + GATHER_SECONDS)
        left = deadline - time.monotonic()
        if job.state.final or not files or ended >= query.limit or left <= 0 or services.watcher.closed:
            return job, files
        if ended:
            await services.watcher.final(job.id, left)
        else:
            await services.watcher.changed(job.id, job.event_seq, left)
        job = await to_thread.run_sync(services.jobs.get, job.id, job.tenant)


def _ended(job: Job, files: Sequence[JobFile]) -> Sequence[JobFile]:
    """The first files, up to one whose turn is still to come."""
    if job.state.final:
        return files
    return files[: next((n for n, file in enumerate(files) if file.state is JobState.QUEUED), len(files))]


async def _page_of_results(
    services: Services, job: Job, files: Sequence[JobFile], query: ResultsQuery
) -> StreamingResponse:
    """The files that have ended as a tar, up to `limit` of them and to PAGE_BYTES."""
    shown: list[JobFile] = []
    size = 0
    for file in _ended(job, files[: query.limit]):
        shown.append(file)
        size += int((file.result or {}).get("bytes", 0))
        if size >= PAGE_BYTES:
            break
    cursor = shown[-1].number + 1 if shown else query.cursor or 0
    about = {
        "job": job.id,
        "state": job.state,
        "error": None if job.error is None else {"code": job.error.code, "detail": job.error.detail},
        "next_cursor": str(cursor) if len(shown) < len(files) else None,
    }
    packed = await to_thread.run_sync(packed_files, job, shown, about)
    headers = {"B2S-Job-Id": job.id, "Vary": "Accept", "Cache-Control": "no-store"}
    return StreamingResponse(pack(services.blobs, packed, TAR), headers=headers, media_type=TAR)


async def _file(services: Services, job: Job, which: str) -> JobFile:
    """A file of the batch by index or name. Raises NotABatch, ResultGone, FileNotFound."""
    _require_batch(job)
    found: list[JobFile] = []
    if which.isascii() and which.isdecimal():
        number = int(which[:12])
        if number < 2**31:
            found = await to_thread.run_sync(services.job_files.page, job.id, number, 1)
        found = [file for file in found if file.number == number]
    else:
        found = await to_thread.run_sync(services.job_files.page, job.id, 0, 1, which)
    if not found:
        raise problems.FileNotFound(f"The batch has no file {which[:60]!r}. GET /jobs/{job.id}/results lists them.")
    return found[0]


def _require_batch(job: Job) -> None:
    if job.files is None:
        raise problems.NotABatch(f"This job made one result: GET /jobs/{job.id}/result.")
    if job.purged:
        raise gone()


def _require_result(job: Job, file: JobFile) -> dict[str, Any]:
    """The facts about a file's result. Raises ResultNotReady, JobHasNoResult."""
    if file.result_key is not None and file.result is not None:
        return dict(file.result)
    if file.state is JobState.FAILED and file.error is not None:
        raise problems.JobHasNoResult(f"{file.name}: {file.error.detail}", job_state=job.state, code=file.error.code)
    if job.state.final:
        raise problems.JobHasNoResult(f"{file.name}: the job {job.state} before its turn.", job_state=job.state)
    raise problems.ResultNotReady(
        f"{file.name} is not done yet; the job is {job.state}. Try again in {RETRY_SECONDS} s.",
        headers={"Retry-After": RETRY_SECONDS},
        job_state=job.state,
    )
