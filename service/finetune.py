"""`POST /finetune`: store the images of a request, or name a dataset, and record the job that learns from them."""

import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any

import structlog
from anyio import CancelScope, to_thread
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import SQLAlchemyError

from service import openapi, problems
from service.access import FINETUNE, Caller, CallerDep
from service.denoise import IdempotencyKey
from service.finetune_options import FROM_SCRATCH, FineTuneOptions, FineTuneQuery, parse_options
from service.job_view import JobView
from service.parameters import Prefer
from service.preferences import wait_seconds
from service.problems import FieldError
from service.services import BasePath, Services, ServicesDep
from service.training_files import TrainingUpload, receive_training_files
from service.webhooks import require_webhook_url
from store.blobs import input_key
from store.errors import IdempotencyConflict, StoreError
from store.ids import new_id
from store.job import Job, JobKind, NewJob
from store.models import ModelNotFound
from store.traces import traceparent
from store.training_file import TrainingFile

router = APIRouter(tags=["finetune"])

DEFAULT_MINUTES = 15.0
IMAGES_A_QUERY = 1000

log = structlog.get_logger(__name__)


@router.post(
    "/finetune",
    operation_id="finetune",
    summary="Make a model for your images",
    status_code=202,
    response_model=JobView,
    responses=openapi.FINETUNE_RESPONSES,
    openapi_extra={"requestBody": openapi.FINETUNE_BODY},
    dependencies=[FINETUNE],
)
async def finetune(
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    base: BasePath,
    query: Annotated[FineTuneQuery, Query()],
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> Response:
    """Learn from noisy images alone: send them (many, or a zip or tar), or name a dataset.

    The job goes through `validating`, `training`, `evaluating` and `publishing`; its events carry points for a chart.
    It succeeds with a model: `result.model` names it, and `result.promoted` says whether it beat its base on images
    that it did not learn from.
    """
    seconds = wait_seconds(query.wait, prefer, services.settings.max_wait_seconds)
    async with _kept_if_used(services) as upload:
        await receive_training_files(request, services, upload)
        options = _checked(services, parse_options(upload.fields, query.given()), upload)
        await to_thread.run_sync(_require_base, services, caller, options)
        asked = Asked(caller, options, upload, request.state.request_id, idempotency_key)
        job, replayed = await to_thread.run_sync(_record, services, asked)
    structlog.contextvars.bind_contextvars(job_id=job.id)
    headers = {"Location": f"{base}/jobs/{job.id}"}
    if replayed:
        headers["Idempotency-Replayed"] = "true"
    else:
        services.metrics.observe_upload(sum(file.bytes for file in upload.files))
        services.bell.ring(job)
    if seconds is not None:
        headers["Preference-Applied"] = f"wait={seconds:g}"
        job = await services.ended(job, seconds)
    view = await services.view(job, base)
    finished = seconds is not None and job.state.final
    return JSONResponse(view.model_dump(mode="json"), status_code=200 if finished else 202, headers=headers)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, checked."""

    caller: Caller
    options: FineTuneOptions
    upload: TrainingUpload
    request_id: str
    idempotency_key: str | None


def _checked(services: Services, options: FineTuneOptions, upload: TrainingUpload) -> FineTuneOptions:
    """The options with the defaults that depend on settings. Raises InvalidRequest when they do not fit the files."""
    if bool(upload.files) == bool(options.dataset_id):
        raise _refused_field(
            "images",
            "send files as `images` (curl -F images=@a.tif -F images=@b.tif), or a `dataset_id`, and not both",
        )
    if upload.files and not any(file.archive or file.pixels for file in upload.files):
        raise _refused_field(
            "images", f"none of the {len(upload.files)} files is an image or archive that is read here"
        )
    require_webhook_url(options.webhook_url, services.settings)
    bound = services.settings.finetune_minutes
    if (options.max_minutes or 0.0) > bound:
        raise _refused_field("max_minutes", f"at most {bound:g} are allowed here (setting B2S_FINETUNE_MINUTES)")
    return options.model_copy(update={"max_minutes": options.max_minutes or min(DEFAULT_MINUTES, bound)})


def _require_base(services: Services, caller: Caller, options: FineTuneOptions) -> None:
    if options.base_model in (None, FROM_SCRATCH):
        return
    try:
        services.models.get(options.base_model or "", caller.tenant)
    except ModelNotFound as error:
        raise _refused_field(
            "base_model", f"{error} GET /models lists those that exist; `none` starts from nothing."
        ) from error


def _record(services: Services, asked: Asked) -> tuple[Job, bool]:
    """Store the list of files and queue the job; or, True, find what the same request with the same key made before."""
    options, upload = asked.options, asked.upload
    manifest = upload.manifest()
    files = upload.files
    if options.dataset_id is not None:
        files = _dataset_files(services, options.dataset_id, asked.caller.tenant)
        manifest = TrainingUpload(upload.job_id, files).manifest()
    new = NewJob(
        id=upload.job_id,
        kind=JobKind.FINETUNE,
        options=options.model_dump(mode="json", exclude={"dataset_id", "base_model"}),
        input={"files": len(files), "bytes": sum(file.bytes for file in files)},
        input_key=input_key(upload.job_id),
        pixels=sum(file.pixels for file in files),
        unit="step",
        model=options.base_model,
        dataset_id=options.dataset_id,
        tenant=asked.caller.tenant,
        allowance=asked.caller.allowance,
        request_id=asked.request_id,
        traceparent=traceparent(),
        idempotency_key=asked.idempotency_key,
    )
    if asked.idempotency_key is not None:
        new = replace(new, body_hash=_body_hash(options, files))
    upload.stored = True
    services.blobs.put(input_key(upload.job_id), manifest)
    try:
        created = services.jobs.create(new)
    except IdempotencyConflict as error:
        raise problems.IdempotencyMismatch(str(error)) from error
    except SQLAlchemyError:
        upload.used = True  # the job may be there, though its answer was lost: the sweep knows later
        raise
    upload.used = not created.replayed
    return created.job, created.replayed


def _dataset_files(services: Services, dataset_id: str, tenant: str) -> list[TrainingFile]:
    """What is in a dataset now: images that are added later are not learned from. Raises if there is nothing."""
    services.datasets.get(dataset_id, tenant)
    found: list[TrainingFile] = []
    batch = services.datasets.images(dataset_id, IMAGES_A_QUERY)
    while batch:
        found += [TrainingFile(image.name, image.key, image.bytes, image.pixels, image.sha256) for image in batch]
        batch = services.datasets.images(dataset_id, IMAGES_A_QUERY, after=batch[-1].name)
    if not found:
        raise _refused_field("dataset_id", "the dataset is empty; PUT /datasets/{id}/images/{name} fills it")
    return found


def _body_hash(options: FineTuneOptions, files: list[TrainingFile]) -> str:
    """What makes two requests the same: the bytes of the files under their names, and the options."""
    named = sorted((file.name, file.sha256) for file in files)
    canonical: Mapping[str, Any] = options.model_dump(mode="json") | {"images": named}
    return hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()


@asynccontextmanager
async def _kept_if_used(services: Services) -> AsyncIterator[TrainingUpload]:
    """An upload for a job of its own; what of it was stored is deleted again if that job was not made."""
    upload = TrainingUpload(new_id("job"))
    try:
        yield upload
    finally:
        if upload.stored and not upload.used:
            with CancelScope(shield=True):
                await to_thread.run_sync(_remove, services, upload.job_id)


def _remove(services: Services, job_id: str) -> None:
    try:
        services.blobs.delete_job(job_id)
    except StoreError:
        log.warning("files without a job were left behind; the sweep removes them", job_id=job_id)


def _refused_field(name: str, message: str) -> problems.InvalidRequest:
    return problems.InvalidRequest(f"{name}: {message}.", errors=[FieldError(field=name, message=message)])
