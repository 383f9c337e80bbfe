"""Outermost middleware: request id, access log, request metrics, and the headers that every response carries."""

import re
import time
import uuid

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.edge.metrics import GatewayMetrics

REQUEST_ID = re.compile(r"[A-Za-z0-9._\-]{1,64}")
"""What is taken over from a caller's X-Request-ID; anything else could forge log lines, and gets an id of ours."""

QUIET_PATHS = frozenset({"/livez", "/readyz", "/metrics"})
"""Probes and scrapes come every few seconds; their access lines would bury the ones that matter."""

log = structlog.get_logger("service.edge.access")


class RequestContext:
    """Bind a request id to the log context, answer it in `X-Request-ID`, and write one access line a request."""

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        started = time.perf_counter()
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(MutableHeaders(raw=message["headers"]), request_id)
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            seconds = time.perf_counter() - started
            self.metrics.observe_request(scope["method"], _route_template(scope), status, seconds)
            _log_access(scope, status, seconds)


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if REQUEST_ID.fullmatch(given) else f"req_{uuid.uuid4().hex}"


def _add_headers(headers: MutableHeaders, request_id: str) -> None:
    headers["X-Request-ID"] = request_id
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "no-referrer"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"  # no other site shows a result as a picture of its own
    headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
    headers.setdefault("Cache-Control", "no-store")


def _route_template(scope: Scope) -> str:
    """The route's pattern, never the path itself: a label per job id would grow without bound."""
    template = getattr(scope.get("route"), "path", None)
    return template if isinstance(template, str) else "unmatched"


def is_quiet(scope: Scope) -> bool:
    """Whether this is a probe or a scrape."""
    return scope["path"].removeprefix("/v1") in QUIET_PATHS


def _log_access(scope: Scope, status: int, seconds: float) -> None:
    if is_quiet(scope) and status < 400:
        return
    client = scope.get("client")
    log.info(
        "request",
        method=scope["method"],
        path=scope["path"],
        status=status,
        ms=round(seconds * 1000, 1),
        client=client[0] if client else None,
    )
