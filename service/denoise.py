"""`POST /denoise`: check an upload, record it as a job, answer with the job or, if asked to wait, with the image."""

from typing import Annotated

import structlog
from anyio import to_thread
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse, Response

from images.probe import ImageInfo
from service import openapi, problems
from service.access import DENOISE, Caller, CallerDep
from service.downloads import serve
from service.job_view import JobView
from service.options import DenoiseOptions, DenoiseQuery, parse_options
from service.parameters import Prefer
from service.preferences import asks_for_images, quality, wait_seconds
from service.problems import FieldError
from service.recording import record
from service.results import result_file, result_headers
from service.services import BasePath, Services, ServicesDep
from service.uploads import Upload, receive_upload
from service.webhooks import require_webhook_url
from store.job import Job, JobState
from store.models import Model, ModelNotFound

router = APIRouter(tags=["denoise"])

OUR_FAULTS = frozenset({"worker_lost", "storage_unavailable", "disk_full", "out_of_memory", "internal_error"})
"""Codes of job errors for which no client can be blamed, so that a waiting request answers 500 and not 422."""

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description=(
            "Any unique text, a UUID for one. Sending the same image, options and key again gives the first job again "
            "instead of a second one, so a request may be retried safely."
        ),
        examples=["8e03978e-40d5-43e8-bc93-6894a57f9324"],
    ),
]
Accept = Annotated[
    str | None,
    Header(description="With a wait: `image/*` answers the image itself instead of the job.", examples=["image/*"]),
]


@router.post(
    "/denoise",
    operation_id="denoise",
    summary="Denoise an image",
    dependencies=[DENOISE],
    status_code=202,
    response_model=JobView,
    responses=openapi.DENOISE_RESPONSES,
    openapi_extra={"requestBody": openapi.DENOISE_BODY},
)
async def denoise(
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    base: BasePath,
    query: Annotated[DenoiseQuery, Query()],
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
    accept: Accept = None,
) -> Response:
    """Send a noisy image, get it back clean.

    Without a wait the answer is 202 with the job; follow `links`. With `Prefer: wait=N` (or `?wait=N`) the request is
    held: 200 with the finished job, or with the image itself if `Accept` prefers it. After N seconds the answer is 202
    and the job goes on, nothing is lost.
    """
    seconds = wait_seconds(query.wait, prefer, services.settings.max_wait_seconds)
    async with receive_upload(request, services.settings.max_upload_bytes) as upload:
        options = parse_options(upload.fields, query.given())
        require_webhook_url(options.webhook_url, services.settings)

        def take() -> tuple[Job, bool, bool]:
            """All that blocks, in one change of threads: the job, whether it is not new, and whether to answer it."""
            info, model = _examine(services, caller, upload, options)
            wants_image = seconds is not None and _wants_image(accept, options, info)
            request_id: str = request.state.request_id
            made = record(services, caller, upload, options, info, model.id, request_id, idempotency_key)
            return *made, wants_image

        job, replayed, wants_image = await to_thread.run_sync(take)
    structlog.contextvars.bind_contextvars(job_id=job.id)
    headers = {"Location": f"{base}/jobs/{job.id}"}
    if replayed:
        headers["Idempotency-Replayed"] = "true"
    else:
        services.metrics.observe_upload(upload.size)
        services.bell.ring(job)
    if seconds is not None:
        headers["Preference-Applied"] = f"wait={seconds:g}"
        job = await services.ended(job, seconds)
    if wants_image and job.state.final:
        try:
            return await _image(request, services, job, headers)
        except problems.Problem as problem:
            problem.headers |= headers  # where the job is, and whether an earlier request made it
            raise
    finished = seconds is not None and job.state.final
    view = await services.view(job, base)
    return JSONResponse(view.model_dump(mode="json"), status_code=200 if finished else 202, headers=headers)


def _examine(services: Services, caller: Caller, upload: Upload, options: DenoiseOptions) -> tuple[ImageInfo, Model]:
    """What the upload is, and what will denoise it; refuses what cannot be done. Blocking."""
    info = upload.probe(services.limits)
    _check_roi(options, info)
    return info, _choose_model(services, caller, options, info)


def _choose_model(services: Services, caller: Caller, options: DenoiseOptions, info: ImageInfo) -> Model:
    """The model asked for, or the base model that fits; refuses one that cannot take the image's channels."""
    if options.model is None:
        try:
            return services.models.default_for(info.channels)
        except ModelNotFound as error:
            raise problems.Unavailable(f"{error} The operator has to restore model/weights.") from error
    try:
        model = services.models.get(options.model, caller.tenant)
    except ModelNotFound as error:
        raise _refused_field("model", f"{error} GET /models lists those that exist.") from error
    if not model.fits(info.channels):
        raise _refused_field(
            "model",
            f"{model.id} takes images of {model.channels} channels and this one has {info.channels}; "
            "leave `model` out to have one chosen.",
        )
    return model


def _check_roi(options: DenoiseOptions, info: ImageInfo) -> None:
    """Refuse a crop that does not lie inside the image, in pixels as stored."""
    if options.roi is None:
        return
    x, y, width, height = map(int, options.roi.split(","))
    if x + width > info.width or y + height > info.height:
        raise _refused_field(
            "roi", f"{options.roi} does not lie inside the image of {info.width} x {info.height} pixels."
        )


def _refused_field(name: str, message: str) -> problems.InvalidRequest:
    return problems.InvalidRequest(f"{name}: {message}", errors=[FieldError(field=name, message=message)])


def _wants_image(accept: str | None, options: DenoiseOptions, info: ImageInfo) -> bool:
    """Whether `Accept` prefers the image over the job's JSON; refuses when it names only other image types."""
    media_type = f"image/{options.output_format}" if options.output_format else info.media_type
    image, job = quality(accept, media_type), quality(accept, "application/json")
    if image == job == 0 and asks_for_images(accept):
        raise problems.NotAcceptable(
            f"The result will be {media_type}, which `Accept: {accept}` leaves out. Send `Accept: image/*`, or choose "
            "the format with `output_format`."
        )
    return image > job


async def _image(request: Request, services: Services, job: Job, headers: dict[str, str]) -> Response:
    """The result of a final job as the answer itself, or the problem that kept it from being made."""
    if job.state is JobState.CANCELED:
        raise problems.JobCanceled("The job was canceled before it was done. Post the image again.", job_id=job.id)
    if job.error is not None:
        kind = problems.JobDied if job.error.code in OUR_FAULTS else problems.JobFailed
        raise kind(job.error.detail, job_id=job.id, code=job.error.code)
    return await serve(request, services.blobs, result_file(job), headers | result_headers(job))
