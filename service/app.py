"""The ASGI application: `create_app` puts routes, error handlers and middleware together; lifespan owns the clients."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from anyio import to_thread
from fastapi import APIRouter, Depends, FastAPI
from fastapi.telemetry import TelemetryConfig
from sqlalchemy.exc import SQLAlchemyError

from service.edge.access import identify
from service.edge.hosts import KnownHosts, Names, require_guarded
from service.edge.metrics import GatewayMetrics
from service.edge.request_context import RequestContext, is_quiet
from service.http import errors, openapi
from service.intake.body_limit import BodyLimit
from service.intake.upload_bytes import upload_bytes
from service.routes import (
    batches,
    datasets,
    denoise,
    finetune,
    health,
    jobs,
    models,
    pages,
    pictures,
    results,
    usage,
    webhooks,
)
from service.services import Services, open_services
from store.loopback import is_loopback
from store.settings import Settings, load_settings
from store.shipped import register_shipped

VERSION = "0.1.0"

TAGS = [
    {"name": "denoise", "description": "Send an image, get it back clean."},
    {"name": "finetune", "description": "Make a model for your images, from noisy images alone."},
    {"name": "datasets", "description": "Sets of images to learn from, filled an image at a time."},
    {"name": "jobs", "description": "Follow, cancel and delete what was started."},
    {"name": "results", "description": "Fetch what a job made."},
    {"name": "models", "description": "What a job can be run with."},
    {"name": "webhooks", "description": "What was told to whom when a job ended."},
    {"name": "usage", "description": "What you used, and what is left."},
    {"name": "health", "description": "For load balancers and monitoring."},
    {"name": "pages", "description": "For people."},
]

TELEMETRY: TelemetryConfig = {
    "metrics": False,  # are Prometheus's
    "logs": False,  # are structlog's
    "operation_spans": False,  # a span a request is enough; the worker's are more interesting
    "auto_configure": False,  # B2S_TRACES says whether
    "exclude": is_quiet,
}
"""FastAPI makes the span of a request by itself, once there is an exporter (`store.traces`)."""

log = structlog.get_logger(__name__)


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the gateway. Nothing is opened before its lifespan starts, so building one costs nothing and needs nothing.

    Args:
        settings: defaults to the environment's (`B2S_…`).

    Raises:
        SettingsError: a variable has a value that cannot work. At start, if the service would be open to strangers.
    """
    settings = settings or load_settings()
    metrics = GatewayMetrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        services = open_services(settings, metrics)
        app.state.services = services
        await to_thread.run_sync(require_guarded, settings, services.keys)
        await to_thread.run_sync(services.gatekeeper.open)
        await to_thread.run_sync(register_shipped, services.models, services.blobs)
        services.start()
        try:
            yield
        finally:
            await services.stop()

    app = FastAPI(
        title="Blind2Sound",
        version=VERSION,
        lifespan=lifespan,
        openapi_tags=TAGS,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect loses bodies and, behind a proxy, names the wrong host
        telemetry=TELEMETRY,
    )
    app.state.metrics = metrics
    _add_routes(app)
    app.openapi = lambda: openapi.document(app)  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    errors.install_handlers(app)
    # Added last is outermost: every answer, a refused host's included, carries a request id and is counted.
    app.add_middleware(
        BodyLimit, max_upload_bytes=lambda: _upload_bytes(app, settings), max_set_bytes=settings.max_set_bytes
    )
    app.add_middleware(errors.BugGuard)
    if is_loopback(settings.host) or settings.allow_open:  # any other has keys, or did not start
        app.add_middleware(KnownHosts, names=Names.of(settings), open=_open)
    app.add_middleware(RequestContext, metrics=metrics)
    return app


def _upload_bytes(app: FastAPI, settings: Settings) -> int:
    services: Services | None = getattr(app.state, "services", None)
    return upload_bytes(settings, open_to_all=False) if services is None else services.upload_bytes


async def _open(app: FastAPI) -> bool:
    """Whether the gateway asks for no key; yes while the database cannot tell, so that nobody slips in."""
    try:
        return await to_thread.run_sync(app.state.services.gatekeeper.open)
    except SQLAlchemyError:
        return True


def _add_routes(app: FastAPI) -> None:
    """Every route twice: as it is, and under /v1 for clients that pin a version."""
    routes = APIRouter()
    for module in (denoise, finetune, datasets, jobs, results, batches, pictures, models, webhooks, usage):
        routes.include_router(module.router, dependencies=[Depends(identify)])
    for module in (health, pages):  # for everybody, but for what asks for a scope itself
        routes.include_router(module.router)
    app.include_router(routes)
    app.include_router(routes, prefix="/v1", include_in_schema=False)
    pages.mount_static(app)
