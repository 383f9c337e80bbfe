"""`POST /denoise`: check an upload, record it as a job, answer with the job or, if asked to wait, with the image."""

from dataclasses import asdict, replace
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response

from images.probe import ImageError, ImageInfo, Limits, require_writable
from service.edge.access import DENOISE, Caller
from service.http import openapi, problems
from service.http.downloads import serve
from service.http.job_view import JobView
from service.http.preferences import asks_for_images, weight_of
from service.http.problem import Problem
from service.intake.base_choice import BaseChoice, for_image, named
from service.intake.batch_files import BatchFiles
from service.intake.batch_job import record_batch
from service.intake.fields import Given, refused_field
from service.intake.options import DenoiseQuery, DenoiseRequest
from service.intake.parts import Part
from service.intake.submission import Submission, SubmitterDep
from service.intake.uploads import probed, receive_upload, require_result_fits
from service.routes.results import result_file, result_headers
from service.routes.webhooks import require_webhook_url
from service.services import Services
from store.blobs import input_key
from store.job import Created, Job, JobKind, JobState, NewJob
from store.models import ModelNotFound
from store.options import DenoiseOptions

router = APIRouter(tags=["denoise"])

OUR_FAULTS = frozenset({"worker_lost", "storage_unavailable", "disk_full", "out_of_memory", "internal_error"})
"""Codes of job errors for which no client can be blamed, so that a waiting request answers 500 and not 422."""

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
    submitter: SubmitterDep,
    query: Annotated[DenoiseQuery, Query()],
    accept: Accept = None,
) -> Response:
    """Send a noisy image, get it back clean; or many as a batch: several `images`, or a zip or tar of them.

    Without a wait the answer is 202 with the job; follow `links`. With `Prefer: wait=N` (or `?wait=N`) the request is
    held: 200 with the finished job, or with the image itself if `Accept` prefers it. After N seconds the answer is 202
    and the job goes on, nothing is lost. A batch is one job with a result a file: `GET /jobs/{id}/results`.
    """
    # `query` is for the OpenAPI document and for `wait`: `given` has each option once, of the query or the form.
    services, given = submitter.services, Given(DenoiseRequest.model_fields, request)
    async with Submission(submitter, query.wait) as submission:
        batch = BatchFiles(submitter, submission)
        async with receive_upload(request, given, services.upload_bytes, batch.keep) as image:
            options = given.parsed(DenoiseRequest)
            require_webhook_url(options.webhook_url, services.settings)
            if image is None:
                return await record_batch(submitter, submission, options, batch)

            info = await services.probes.run(probed, image)
            _check_roi(options, info)
            _check_writable(options, info)
            _check_result(options, info, services.probes.limits)

            def take() -> tuple[Created, bool]:
                """All that waits for the store, in one change of threads: the job, and whether to answer its image."""
                choice = _choose(services, submitter.caller, options, info)
                wants_image = submission.seconds is not None and _wants_image(accept, options, info)
                new = _new_job(submission.job_id, options, image, info, choice)
                return submission.record(new, image.content, lambda: _body(options, image)), wants_image

            created, wants_image = await to_thread.run_sync(take)
    job, headers = await submission.begin(created, image.size)
    if wants_image and job.state.final:
        try:
            return await _image(request, services, job, headers)
        except Problem as problem:
            problem.headers |= headers  # where the job is, and whether an earlier request made it
            raise
    return await submission.answer(job, headers)


def _new_job(job_id: str, options: DenoiseOptions, image: Part, info: ImageInfo, choice: BaseChoice) -> NewJob:
    options = options.model_copy(update={"quality": choice.quality})
    return NewJob(
        id=job_id,
        kind=JobKind.DENOISE,
        options=options.row(),
        input=asdict(info) | {"media_type": info.media_type, "bytes": image.size, "name": image.title},
        input_key=input_key(job_id),
        pixels=info.pixels,
        model=choice.model,
        bases=choice.bases,
        needs=max(options.needs, choice.needs),
    )


def _body(options: DenoiseOptions, image: Part) -> dict[str, Any]:
    """What makes two requests the same: the image's bytes and the options, whichever way they were sent."""
    return options.identity() | {"image": image.sha256()}


def _choose(services: Services, caller: Caller, options: DenoiseOptions, info: ImageInfo) -> BaseChoice:
    """The model asked for, or the base models that fit; refuses one that cannot take the image's channels."""
    if options.model is None:
        return for_image(services, options.quality, info.channels)
    try:
        model = services.models.get(options.model, caller.tenant)
    except ModelNotFound as error:
        raise refused_field("model", f"{error} GET /models lists those that exist") from error
    if not model.fits(info.channels):
        raise refused_field(
            "model",
            f"{model.id} takes images of {model.channels} channels and this one has {info.channels}; "
            "leave `model` out to have one chosen",
        )
    return named(model, "model", options.quality)


def _check_roi(options: DenoiseOptions, info: ImageInfo) -> None:
    """Refuse a crop that does not lie inside the image, in pixels as stored."""
    if options.roi is None:
        return
    if not options.roi.lies_in(info.width, info.height):
        raise refused_field(
            "roi", f"{options.roi} does not lie inside the image of {info.width} x {info.height} pixels"
        )
    if info.result_format == "dng" and (options.roi.x % 2 or options.roi.y % 2):
        raise refused_field("roi", f"{options.roi} begins inside a block of the raw mosaic; give an even x and y")


def _check_writable(options: DenoiseOptions, info: ImageInfo) -> None:
    """Refuse a result that could not be written once the work is done."""
    try:
        require_writable(info, options.output_format, options.metadata, options.roi is not None, options.output_dtype)
    except ImageError as error:
        wish = "output_dtype" if options.output_dtype and not options.output_format else "output_format"
        raise refused_field(wish, str(error).rstrip(".")) from error
    if options.mosaic == "bayer" and info.channels != 1:
        raise refused_field("mosaic", f"bayer is for images of one channel, this one has {info.channels}; leave it out")


def _check_result(options: DenoiseOptions, info: ImageInfo, limits: Limits) -> None:
    """Refuse a result that would stand in memory whole and is too large for that."""
    roi = options.roi
    result = info if roi is None else replace(info, width=roi.width, height=roi.height)
    require_result_fits(result, options.output_format or info.result_format, limits)


def _wants_image(accept: str | None, options: DenoiseOptions, info: ImageInfo) -> bool:
    """Whether `Accept` prefers the image over the job's JSON; refuses when it names only other image types."""
    media_type = f"image/{options.output_format}" if options.output_format else info.result_media_type
    image, job = weight_of(accept, media_type), weight_of(accept, "application/json")
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
