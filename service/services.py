"""The clients that one gateway process owns, made and closed by the app's lifespan."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request
from sqlalchemy import Engine

from images.probe import Limits
from service.edge.gatekeeper import Gatekeeper
from service.edge.metrics import GatewayMetrics
from service.edge.rates import Rates
from service.http.job_view import JobView, job_view
from service.intake.probes import Probes
from service.intake.upload_bytes import upload_bytes
from service.queue.completion_listener import CompletionListener
from service.queue.notifier import Notifier
from service.queue.waiting import JobWatcher, Mark, Marks
from store.blobs import Blobs
from store.broker import Broker
from store.database import connect
from store.datasets import Datasets
from store.job import Job, JobState
from store.job_files import JobFiles
from store.jobs import Jobs
from store.keys import Keys
from store.models import Models
from store.pictures import Pictures
from store.settings import Settings
from store.usage import Usage
from store.webhooks import Webhooks
from store.workers import Workers


@dataclass(frozen=True)
class Services:
    """Everything a route needs. The store's calls block: run them with `anyio.to_thread`."""

    settings: Settings
    probes: Probes
    engine: Engine
    jobs: Jobs
    job_files: JobFiles
    pictures: Pictures
    blobs: Blobs
    broker: Broker
    notifier: Notifier
    models: Models
    workers: Workers
    datasets: Datasets
    usage: Usage
    webhooks: Webhooks
    keys: Keys
    gatekeeper: Gatekeeper
    rates: Rates
    watcher: JobWatcher
    completions: CompletionListener
    metrics: GatewayMetrics

    async def ended(self, job: Job, seconds: float) -> Job:
        """The job after at most `seconds` of waiting for its end."""
        if job.state.final or seconds <= 0:
            return job
        await self.watcher.final(job.id, seconds)
        return await to_thread.run_sync(self.jobs.get, job.id, job.tenant)

    @property
    def upload_bytes(self) -> int:
        """The most bytes of an upload, as things are now."""
        return upload_bytes(self.settings, not self.gatekeeper.closed)

    async def positions(self, jobs: Sequence[Job]) -> dict[str, int]:
        """Places in the queue of those of `jobs` that are queued, 1 is next."""
        queued = [job.id for job in jobs if job.state is JobState.QUEUED]
        return await to_thread.run_sync(self.jobs.queue_positions, queued) if queued else {}

    async def view(self, job: Job, base: str) -> JobView:
        """The job as the API shows it, with its place in the queue."""
        return job_view(job, base, (await self.positions([job])).get(job.id))

    def start(self) -> None:
        """Begin to serve those who wait; call from the running event loop."""
        self.watcher.start()
        self.completions.start()

    async def stop(self) -> None:
        """End the waits and close the clients."""
        await self.completions.stop()
        await self.watcher.stop()
        await self.notifier.stop()
        self.engine.dispose()


def open_services(settings: Settings, metrics: GatewayMetrics) -> Services:
    """Open the clients. Nothing is asked of database or broker yet, so a gateway starts while they are down.

    Raises:
        SettingsError: a URL among the settings cannot work.
    """
    engine = connect(settings.database)
    jobs, keys = Jobs(engine, settings), Keys(engine)
    broker = Broker(settings)
    pictures = Pictures(engine, settings)
    watcher = JobWatcher(_marks_of(jobs, pictures), fastest_tick=settings.poll_seconds, on_count=metrics.set_waiters)
    return Services(
        settings=settings,
        probes=Probes(Limits(max_bytes=settings.most_upload_bytes, max_pixels=settings.max_pixels)),
        engine=engine,
        jobs=jobs,
        job_files=JobFiles(engine, settings),
        pictures=pictures,
        blobs=Blobs(settings.blobs),
        broker=broker,
        notifier=Notifier(broker),
        models=Models(engine),
        workers=Workers(engine),
        datasets=Datasets(engine, settings),
        usage=Usage(engine),
        webhooks=Webhooks(engine),
        keys=keys,
        gatekeeper=Gatekeeper(keys, settings),
        rates=Rates(),
        watcher=watcher,
        completions=CompletionListener(settings.redis_url, watcher),
        metrics=metrics,
    )


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]


def link_base(request: Request) -> str:
    """What links start with: the proxy's prefix, and /v1 if the request came that way."""
    root: str = request.scope.get("root_path", "")
    return root + ("/v1" if request.url.path.removeprefix(root).startswith("/v1/") else "")


async def base_path(request: Request) -> str:
    """`link_base` as a dependency; a coroutine, so that no thread is taken for it."""
    return link_base(request)


BasePath = Annotated[str, Depends(base_path)]


def _marks_of(jobs: Jobs, pictures: Pictures) -> Marks:
    """Look up many jobs, and pictures of them, at once, in a thread that other requests cannot starve."""
    limiter = CapacityLimiter(1)

    def looked_up(ids: Collection[str]) -> dict[str, Mark]:
        drawn = [one for one in ids if "/" in one]
        found = {one: Mark(0, ended) for one, ended in (pictures.ended(drawn) if drawn else {}).items()}
        marks = jobs.marks([one for one in ids if "/" not in one]) if len(drawn) < len(ids) else {}
        return found | {one: Mark(event_seq, state.final) for one, (event_seq, state) in marks.items()}

    async def marks(ids: Collection[str]) -> Mapping[str, Mark]:
        return await to_thread.run_sync(looked_up, ids, limiter=limiter)

    return marks
