"""Routes of jobs: list, one, its events, cancel and delete."""

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from service.edge.access import READ, CallerDep
from service.http import openapi, problems
from service.http.events import event_stream, last_event_id
from service.http.job_of_path import JobDep
from service.http.job_view import EXAMPLE_ID, JobList, JobView, job_view
from service.http.parameters import LastEventId, Prefer, WaitQuery
from service.http.preferences import wait_seconds
from service.services import BasePath, Services, ServicesDep
from store.job import Job, JobKind, JobState
from store.keys import Scope

router = APIRouter(tags=["jobs"])

STOP_SECONDS = 5.0
"""How long DELETE waits for a running job to stop; a worker looks for a cancel at least twice a second."""


class ListQuery(BaseModel):
    """Which jobs to list."""

    model_config = ConfigDict(extra="forbid")

    kind: JobKind | None = Field(None, description="Only jobs of this kind.")
    state: JobState | None = Field(None, description="Only jobs in this state.")
    limit: int = Field(50, ge=1, le=200, description="Jobs a page.")
    cursor: str | None = Field(
        None, pattern="^job_[0-9a-f]{32}$", description="`next_cursor` of the page before.", examples=[EXAMPLE_ID]
    )


@router.get(
    "/jobs",
    operation_id="list_jobs",
    summary="List jobs",
    dependencies=[READ],
    response_model=JobList,
    responses=openapi.responses(problems.InvalidRequest),
)
async def list_jobs(
    services: ServicesDep, caller: CallerDep, base: BasePath, query: Annotated[ListQuery, Query()]
) -> JobList:
    """Jobs, newest first."""
    page = await to_thread.run_sync(
        lambda: services.jobs.page(caller.tenant, query.kind, query.state, query.limit, query.cursor)
    )
    positions = await services.positions(page.jobs)
    views = [job_view(job, base, positions.get(job.id)) for job in page.jobs]
    return JobList(jobs=views, next_cursor=page.next_cursor)


@router.get(
    "/jobs/{job_id}",
    operation_id="get_job",
    summary="Get a job",
    dependencies=[READ],
    response_model=JobView,
    responses=openapi.responses(problems.JobNotFound, problems.InvalidRequest),
)
async def get_job(
    services: ServicesDep, base: BasePath, job: JobDep, query: Annotated[WaitQuery, Query()], prefer: Prefer = None
) -> JobView:
    """One job. With a wait, the answer is held until the job has ended or the time is over, whichever comes first."""
    seconds = wait_seconds(query.wait, prefer, services.settings.max_wait_seconds)
    return await services.view(await services.ended(job, seconds or 0.0), base)


@router.get(
    "/jobs/{job_id}/events",
    operation_id="get_job_events",
    summary="Follow a job",
    dependencies=[READ],
    response_class=StreamingResponse,
    responses=openapi.EVENT_RESPONSES,
)
async def get_job_events(services: ServicesDep, caller: CallerDep, job: JobDep, last: LastEventId = None) -> Response:
    """Server-Sent Events: every change of the job from the first, or from behind `Last-Event-ID`, until it has ended
    or the key has.

    The event's type is `state` or `progress`, its id a number that counts up, its data JSON.
    """
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # proxies must not hold the stream back
    stream = event_stream(services, job, after=last_event_id(last), key_id=caller.key_id)
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


@router.post(
    "/jobs/{job_id}/cancel",
    operation_id="cancel_job",
    summary="Cancel a job",
    status_code=202,
    response_model=JobView,
    responses=openapi.responses(problems.JobNotFound, problems.JobIsFinal),
)
async def cancel_job(services: ServicesDep, caller: CallerDep, base: BasePath, job: JobDep) -> JobView:
    """Stop a job: at once if it is queued, within one tile or step if it is running. Asking twice is fine."""
    caller.require(Scope(job.kind))
    if job.state.final and job.state is not JobState.CANCELED:
        raise problems.JobIsFinal(
            f"The job {job.state} already, so there is nothing to stop. DELETE removes its bytes."
        )
    job = await to_thread.run_sync(services.jobs.request_cancel, job.id, job.tenant)
    return await services.view(job, base)


@router.delete(
    "/jobs/{job_id}",
    operation_id="delete_job",
    summary="Delete a job's bytes",
    status_code=204,
    response_class=Response,
    responses=openapi.responses(problems.JobNotFound, problems.JobIsRunning),
)
async def delete_job(services: ServicesDep, caller: CallerDep, job: JobDep) -> Response:
    """Remove upload, result and report. A job that has not ended is canceled first.

    Its record stays for a while, so the result answers 410 and not 404. Deleting twice is fine.
    """
    caller.require(Scope(job.kind))
    if not job.state.final:
        job = await to_thread.run_sync(services.jobs.request_cancel, job.id, job.tenant)
        job = await services.ended(job, STOP_SECONDS)
    if not job.state.final:
        raise problems.JobIsRunning(
            "The job was asked to stop and has not yet. Delete it again in a few seconds.", headers={"Retry-After": "2"}
        )
    if not job.purged:
        await to_thread.run_sync(_purge, services, job)
    return Response(status_code=204)


def _purge(services: Services, job: Job) -> None:
    services.jobs.purge(job.id)  # the row first: nobody starts to read bytes that are going
    services.blobs.delete_job(job.id)
