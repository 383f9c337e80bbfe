"""Turn every exception into a problem document, the framework's own included."""

import errno
import math
from datetime import UTC, datetime
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http import problem_pages, problems
from service.http.problem import MEDIA_TYPE, Problem
from service.http.problem_document import FieldError
from service.http.problem_pages import wants_page
from store.datasets import DatasetFull, DatasetInUse, DatasetNotFound, ImageNotFound
from store.errors import (
    BlobMissing,
    BlobStoreError,
    JobNotFound,
    QueueFull,
    QuotaExceeded,
    StorageFull,
    StoreError,
    TenantQueueFull,
    TooManyJobs,
    TooManyPictures,
)
from store.models import ModelInUse, ModelIsShipped, ModelNotFound
from store.webhooks import DeliveryNotFound

METHODS = ("DELETE", "GET", "HEAD", "POST", "PUT")
RETRY_SECONDS = "5"
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
CLIENT_LEFT = 499
"""nginx's number for a request whose sender closed the connection before its end."""

log = structlog.get_logger(__name__)


class ProblemResponse(JSONResponse):
    """A JSON response labelled as RFC 9457 asks."""

    media_type = MEDIA_TYPE


def respond(request: Request, problem: Problem) -> Response:
    """Answer `problem`, with the id under which this request is logged; a browser's address bar gets a page."""
    document = problem.document(request.state.request_id)
    if wants_page(request):
        return problem_pages.occurrence(request, document, problem.headers)
    return ProblemResponse(document, status_code=problem.status, headers={**problem.headers, "Vary": "Accept"})


def install_handlers(app: FastAPI) -> None:
    """Register one handler for each exception family."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(StoreError, _store)
    app.add_exception_handler(SQLAlchemyError, _database)
    app.add_exception_handler(OSError, _system)


async def _problem(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, Problem)
    return respond(request, exc)


async def _validation(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)
    return respond(request, invalid_request(list(exc.errors())))


async def _framework(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    headers = dict(exc.headers or {})
    path = request.url.path
    if exc.status_code == 404:
        return respond(request, problems.NotFound(f"There is nothing at {path}. The routes are listed at /docs."))
    if exc.status_code == 405:
        allowed = headers["Allow"] = ", ".join(_methods_at(request))
        detail = f"{path} does not take {request.method}; it takes {allowed}."
        return respond(request, problems.MethodNotAllowed(detail, headers=headers))
    if exc.status_code < 500:
        return respond(request, problems.RequestRefused(f"{exc.detail} See /docs for what this route takes."))
    return respond(request, problems.InternalError(str(exc.detail)))


def _methods_at(request: Request) -> list[str]:
    """Every method that some route takes at the path; the framework's own `Allow` stops at the first route."""
    found: set[str] = set()
    for method in METHODS:
        scope = {**request.scope, "method": method}
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes):
            found.add(method)
    return sorted(found)


async def _store(request: Request, exc: Exception) -> Response:
    match exc:
        case JobNotFound():
            return respond(request, problems.JobNotFound(f"{exc} GET /jobs lists those that exist."))
        case DeliveryNotFound():
            return respond(request, problems.WebhookNotFound(f"{exc} GET /webhooks lists those that exist."))
        case ModelNotFound():
            return respond(request, problems.ModelNotFound(f"{exc} GET /models lists those that exist."))
        case DatasetNotFound():
            return respond(request, problems.DatasetNotFound(f"{exc} GET /datasets lists those that exist."))
        case ImageNotFound():
            return respond(request, problems.DatasetImageNotFound(f"{exc} GET /datasets/{{id}}/images lists them."))
        case ModelInUse():
            return respond(request, problems.ModelInUse(str(exc), job_id=exc.job_id))
        case ModelIsShipped():
            return respond(request, problems.ModelIsShipped(str(exc)))
        case DatasetInUse():
            return respond(request, problems.DatasetInUse(str(exc), job_id=exc.job_id))
        case DatasetFull():
            return respond(request, problems.SetTooLarge(f"{exc} Make another dataset, or ask for more room."))
        case BlobMissing():
            return respond(
                request, problems.ResultGone("These bytes were deleted or have expired. Post the image again.")
            )
        case TenantQueueFull():
            headers = {"Retry-After": str(exc.retry_after)}
            detail = f"{exc} The bound is B2S_MAX_QUEUED_PER_TENANT."
            return respond(request, problems.TooManyQueued(detail, headers=headers))
        case QueueFull():
            headers = {"Retry-After": str(exc.retry_after)}
            return respond(request, problems.QueueFull(f"{exc} The bound is B2S_MAX_QUEUED.", headers=headers))
        case QuotaExceeded():
            return respond(request, quota_exceeded(exc))
        case StorageFull():
            return respond(request, problems.StorageFull(str(exc)))
        case TooManyJobs():
            return respond(request, problems.TooManyJobs(str(exc), headers={"Retry-After": str(exc.retry_after)}))
        case TooManyPictures():
            return respond(request, problems.TooManyPictures(str(exc), headers={"Retry-After": str(exc.retry_after)}))
        case BlobStoreError():
            log.error("blob store failed", exc_info=exc)
            return respond(request, _unavailable("The blob store"))
    return _unexpected(request, exc)


def quota_exceeded(refused: QuotaExceeded) -> problems.QuotaExceeded:
    """The answer to a tenant that has used up its day, with the time at which the next one begins."""
    seconds = max(math.ceil((refused.resets_at - datetime.now(UTC)).total_seconds()), 1)
    resets_at = refused.resets_at.isoformat().replace("+00:00", "Z")
    return problems.QuotaExceeded(str(refused), headers={"Retry-After": str(seconds)}, resets_at=resets_at)


async def _database(request: Request, exc: Exception) -> Response:
    log.error("database failed", exc_info=exc)
    if isinstance(exc, OperationalError | PoolTimeout | InterfaceError):
        return respond(request, _unavailable("The database"))
    return _unexpected(request, exc)


async def _system(request: Request, exc: Exception) -> Response:
    """A spool that is full is nobody's bug, and passes; what else the system refuses is one."""
    if isinstance(exc, OSError) and exc.errno in DISK_FULL:
        log.error("spool is full", exc_info=exc)
        detail = (
            f"The server has no room to take this upload. Nothing was recorded; try again in {RETRY_SECONDS} s, or "
            "send a smaller file. The operator has to make room in TMPDIR."
        )
        return respond(request, problems.Unavailable(detail, headers={"Retry-After": RETRY_SECONDS}))
    return _unexpected(request, exc)


def _unavailable(what: str) -> problems.Unavailable:
    detail = (
        f"{what} does not answer. Nothing was recorded; try again in {RETRY_SECONDS} s. /readyz tells when it is back."
    )
    return problems.Unavailable(detail, headers={"Retry-After": RETRY_SECONDS})


class BugGuard:
    """Middleware: answer an error that nobody expected with a problem, and log it. A client that left is none.

    Starlette would call a handler for `Exception` outside of all other middleware, where no request id is added.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched_send(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watched_send)
        except ClientDisconnect:  # nobody's fault here: for log and metrics only, nobody is left to read it
            if not started:
                await Response(status_code=CLIENT_LEFT)(scope, receive, send)
        except Exception as exc:
            if scope["type"] != "http" or started:
                raise  # half an answer cannot be taken back: the server breaks the connection off
            request = Request(scope, receive)
            await _unexpected(request, exc)(scope, receive, send)


def _unexpected(request: Request, exc: Exception) -> Response:
    log.error("unexpected error", exc_info=exc, path=request.url.path)
    detail = "The server hit a bug. Try again; if it stays, report it with this request_id, which its log line carries."
    return respond(request, problems.InternalError(detail))


def invalid_request(errors: list[Any]) -> problems.InvalidRequest:
    """One problem for all fields that pydantic refused; `errors` as `ValidationError.errors()` gives them."""
    fields = [FieldError(field=_field_name(error), message=_message(error)) for error in errors]
    words = "; ".join(f"{item.field}: {item.message}" for item in fields)
    return problems.InvalidRequest(f"{words}. Correct the named fields; /docs shows what they take.", errors=fields)


def _field_name(error: dict[str, Any]) -> str:
    parts = [str(part) for part in error["loc"] if part not in ("query", "path", "body", "header")]
    return ".".join(parts) or "body"


def _message(error: dict[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return "this field is not known here"
    return str(error["msg"]).removeprefix("Value error, ").rstrip(".")
