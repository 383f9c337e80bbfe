"""What operators and load balancers ask: alive, ready, and the numbers for Prometheus."""

from collections.abc import Callable, Iterable
from typing import Literal

from anyio import to_thread
from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError

from service.edge import metrics
from service.edge.access import ADMIN
from service.http import openapi
from service.intake.upload_bytes import free_bytes
from service.services import Services, ServicesDep
from store.errors import StoreError
from store.job import JobKind
from store.jobs import Jobs
from store.webhooks import Webhooks

router = APIRouter(tags=["health"])

CheckState = Literal["ok", "failed"]


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """Whether this gateway can take requests, part by part."""

    status: Literal["ok", "degraded", "failed"] = Field(
        description="`degraded`: requests are taken and kept, but jobs start later because the broker is down, or "
        "large uploads are refused because the disk that they go through is full."
    )
    database: CheckState
    blobs: CheckState
    broker: CheckState
    spool: CheckState = Field(description="Whether the folder that uploads go through has room for the largest one.")


@router.get("/livez", operation_id="livez", summary="Is the process alive?", responses=openapi.OPEN_RESPONSES)
async def livez() -> Alive:
    """200 as long as the process answers; asks nothing else, so that a database outage does not restart gateways."""
    return Alive()


@router.get("/readyz", operation_id="readyz", summary="Can it take requests?", responses=openapi.READY_RESPONSES)
async def readyz(services: ServicesDep) -> Ready:
    """503 if the database or the blob store fails. A broker that is down only degrades: the sweep rings later."""
    ready = await to_thread.run_sync(_check, services)
    if ready.status == "failed":
        return JSONResponse(ready.model_dump(), status_code=503)  # type: ignore[return-value]
    return ready


@router.get(
    "/metrics",
    operation_id="metrics",
    summary="Numbers for Prometheus",
    dependencies=[ADMIN],
    response_class=Response,
    responses=openapi.METRICS_RESPONSES,
)
async def prometheus(services: ServicesDep) -> Response:
    """Requests of this gateway, and the queue as the database has it. Workers serve their own (B2S_METRICS_PORT).

    Where keys are asked for, this one needs the scope `admin`: the numbers are of all tenants together.
    """
    body = await to_thread.run_sync(services.metrics.exposition, QueueCollector(services.jobs, services.webhooks))
    return Response(body, media_type=metrics.CONTENT_TYPE)


class QueueCollector(Collector):
    """Queue length and age, read at each scrape. A failing database leaves only `b2s_database_up` 0."""

    def __init__(self, jobs: Jobs, webhooks: Webhooks) -> None:
        self._jobs = jobs
        self._webhooks = webhooks

    def collect(self) -> Iterable[Metric]:
        queued = GaugeMetricFamily("b2s_jobs_queued", "Jobs waiting for a worker.", labels=["kind"])
        running = GaugeMetricFamily("b2s_jobs_running", "Jobs that a worker holds.", labels=["kind"])
        oldest = GaugeMetricFamily("b2s_jobs_oldest_queued_seconds", "Age of the oldest waiting job.", labels=["kind"])
        up = GaugeMetricFamily("b2s_database_up", "Whether the database answered this scrape.", value=1)
        try:
            for kind in JobKind:
                stats = self._jobs.stats(kind)
                queued.add_metric([kind], stats.queued)
                running.add_metric([kind], stats.running)
                oldest.add_metric([kind], stats.oldest_seconds)
            pending, overdue = self._webhooks.pending()
        except SQLAlchemyError:
            return [GaugeMetricFamily("b2s_database_up", "Whether the database answered this scrape.", value=0)]
        waiting = GaugeMetricFamily("b2s_webhooks_pending", "Webhook deliveries not made yet.", value=pending)
        late = GaugeMetricFamily("b2s_webhooks_overdue_seconds", "How late the most overdue one is.", value=overdue)
        return [queued, running, oldest, waiting, late, up]


def _check(services: Services) -> Ready:
    database = _state(lambda: _ask(services))
    blobs = _state(services.blobs.check)
    broker: CheckState = "ok" if services.broker.answers() else "failed"
    failed = "failed" in (database, blobs)
    spool: CheckState = "ok" if free_bytes() >= services.upload_bytes else "failed"
    well = broker == spool == "ok"
    status: Literal["ok", "degraded", "failed"] = "failed" if failed else "ok" if well else "degraded"
    return Ready(status=status, database=database, blobs=blobs, broker=broker, spool=spool)


def _ask(services: Services) -> None:
    services.jobs.stats(JobKind.DENOISE)


def _state(check: Callable[[], object]) -> CheckState:
    try:
        check()
    except (SQLAlchemyError, StoreError):
        return "failed"
    return "ok"
