"""The clients that one gateway process owns, made and closed by the app's lifespan."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request
from sqlalchemy import Engine

from images.probe import Limits
from service.bell import Bell
from service.endings import Endings
from service.gatekeeper import Gatekeeper
from service.job_view import JobView, job_view
from service.metrics import GatewayMetrics
from service.rates import Rates
from service.waiting import Mark, Marks, WaitingRoom
from store.blobs import Blobs
from store.broker import Broker
from store.database import connect
from store.datasets import Datasets
from store.job import Job, JobState
from store.jobs import Jobs
from store.keys import Keys
from store.models import Models
from store.settings import Settings
from store.usage import Usage
from store.webhooks import Webhooks


@dataclass(frozen=True)
class Services:
    """Everything a route needs. The store's calls block: run them with `anyio.to_thread`."""

    settings: Settings
    limits: Limits
    engine: Engine
    jobs: Jobs
    blobs: Blobs
    broker: Broker
    bell: Bell
    models: Models
    datasets: Datasets
    usage: Usage
    webhooks: Webhooks
    keys: Keys
    gatekeeper: Gatekeeper
    rates: Rates
    room: WaitingRoom
    endings: Endings
    metrics: GatewayMetrics

    async def ended(self, job: Job, seconds: float) -> Job:
        """The job after at most `seconds` of waiting for its end."""
        if job.state.final or seconds <= 0:
            return job
        await self.room.final(job.id, seconds)
        return await to_thread.run_sync(self.jobs.get, job.id, job.tenant)

    async def positions(self, jobs: Sequence[Job]) -> dict[str, int]:
        """Places in the queue of those of `jobs` that are queued, 1 is next."""
        queued = [job.id for job in jobs if job.state is JobState.QUEUED]
        return await to_thread.run_sync(self.jobs.queue_positions, queued) if queued else {}

    async def view(self, job: Job, base: str) -> JobView:
        """The job as the API shows it, with its place in the queue."""
        return job_view(job, base, (await self.positions([job])).get(job.id))

    def start(self) -> None:
        """Begin to serve those who wait; call from the running event loop."""
        self.room.start()
        self.endings.start()

    async def stop(self) -> None:
        """End the waits and close the clients."""
        await self.endings.stop()
        await self.room.stop()
        await self.bell.stop()
        self.engine.dispose()


def open_services(settings: Settings, metrics: GatewayMetrics) -> Services:
    """Open the clients. Nothing is asked of database or broker yet, so a gateway starts while they are down.

    Raises:
        SettingsError: a URL among the settings cannot work.
    """
    engine = connect(settings.database)
    jobs, keys = Jobs(engine, settings), Keys(engine)
    broker = Broker(settings)
    room = WaitingRoom(_marks_of(jobs), fastest_tick=settings.poll_seconds, on_count=metrics.set_waiters)
    return Services(
        settings=settings,
        limits=Limits(max_bytes=settings.max_upload_bytes, max_pixels=settings.max_pixels),
        engine=engine,
        jobs=jobs,
        blobs=Blobs(settings.blobs),
        broker=broker,
        bell=Bell(broker),
        models=Models(engine),
        datasets=Datasets(engine, settings),
        usage=Usage(engine),
        webhooks=Webhooks(engine),
        keys=keys,
        gatekeeper=Gatekeeper(keys, settings),
        rates=Rates(),
        room=room,
        endings=Endings(settings.redis_url, room),
        metrics=metrics,
    )


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]


async def base_path(request: Request) -> str:
    """What links start with: the proxy's prefix, and /v1 if the request came that way."""
    root: str = request.scope.get("root_path", "")
    return root + ("/v1" if request.url.path.removeprefix(root).startswith("/v1/") else "")


BasePath = Annotated[str, Depends(base_path)]


def _marks_of(jobs: Jobs) -> Marks:
    """Look up many jobs at once, in a thread that other requests cannot starve."""
    limiter = CapacityLimiter(1)

    async def marks(job_ids: Collection[str]) -> Mapping[str, Mark]:
        found = await to_thread.run_sync(jobs.marks, list(job_ids), limiter=limiter)
        return {job_id: Mark(event_seq, state.final) for job_id, (event_seq, state) in found.items()}

    return marks
