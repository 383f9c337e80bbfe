"""The job that a path names."""

from typing import Annotated

import structlog
from anyio import to_thread
from fastapi import Depends, Path

from service.edge.access import CallerDep
from service.http.job_view import EXAMPLE_ID
from service.http.parameters import PlainText
from service.services import ServicesDep
from store.job import Job

JobId = Annotated[PlainText, Path(max_length=100, description="Id of a job.", examples=[EXAMPLE_ID])]


async def find_job(services: ServicesDep, caller: CallerDep, job_id: JobId) -> Job:
    """The caller's job with the id of the path. Raises the store's JobNotFound, answered as 404."""
    structlog.contextvars.bind_contextvars(job_id=job_id)
    return await to_thread.run_sync(services.jobs.get, job_id, caller.tenant)


JobDep = Annotated[Job, Depends(find_job)]
