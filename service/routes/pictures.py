"""Pictures of a finished job: its report drawn, and previews. A worker draws each when it is first asked for."""

import time
from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from service.edge.access import READ
from service.http import openapi, problems
from service.http.downloads import StoredFile, gone, serve
from service.http.job_of_path import JobDep
from service.intake.fields import refused_field
from service.routes.results import report_key, require_success
from service.services import Services, ServicesDep
from store.errors import BlobMissing
from store.job import Job, JobKind
from store.pictures import Picture
from store.preview import REPORT, Preview

router = APIRouter(tags=["results"])

LOOK_AGAIN_SECONDS = 5.0
"""How often a request that waits asks for its picture again: a ring may be lost, and the worker that heard it."""

RETRY_SECONDS = "5"
MEDIA_TYPE = "image/png"


@router.head("/jobs/{job_id}/report.png", include_in_schema=False, dependencies=[READ])
@router.get(
    "/jobs/{job_id}/report.png",
    operation_id="get_report_picture",
    summary="Get the noise report as a picture",
    dependencies=[READ],
    response_class=Response,
    responses=openapi.REPORT_PICTURE_RESPONSES,
)
async def get_report_picture(request: Request, services: ServicesDep, job: JobDep) -> Response:
    """Before, after and residual, its histogram and autocorrelation, and the estimated noise line.

    Of a fine-tune: held-out crops by both models, the score over time, and the set's noise line. A denoise job's
    picture is drawn by a worker when it is first asked for, and then kept.
    """
    require_success(job)
    if job.picture_key is not None:  # a fine-tune's, or one that was drawn with its job by an older worker
        head = await to_thread.run_sync(_stored, services, job, job.picture_key)
        return await serve(request, services.blobs, head)
    report_key(job)
    return await _drawn(request, services, job, REPORT, "report")


@router.head("/jobs/{job_id}/preview.png", include_in_schema=False, dependencies=[READ])
@router.get(
    "/jobs/{job_id}/preview.png",
    operation_id="get_preview",
    summary="Get the image as a picture for a screen",
    dependencies=[READ],
    response_class=Response,
    responses=openapi.PREVIEW_RESPONSES,
)
async def get_preview(
    request: Request, services: ServicesDep, job: JobDep, query: Annotated[Preview, Query()]
) -> Response:
    """A PNG of 8 bits of any format, camera raw, FITS, DICOM and 16 bit included: the upload, the result, or what was
    taken out.

    A worker draws it when it is first asked for; the same picture is then kept for a while. It is the right way up and
    carries no metadata. Asking twice, or at once, draws it once.
    """
    require_success(job)
    if job.files is not None:
        raise problems.NoPreview("A batch has many images. GET /jobs/{id}/results lists them.")
    if job.kind is not JobKind.DENOISE:
        raise problems.NoPreview("A fine-tune has no image before and after. GET /jobs/{id}/report.png shows crops.")
    frames = job.input.get("frames", 1)
    if query.page >= frames:
        raise refused_field("page", f"{query.page} is not there: the image has {frames}, counted from 0")
    return await _drawn(request, services, job, query.row(), query.side)


async def _drawn(request: Request, services: Services, job: Job, what: Mapping[str, Any], name: str) -> Response:
    """The picture, once it is drawn.

    Raises:
        PictureRefused, PictureLate: it cannot be, or was not within B2S_PICTURE_SECONDS.
        TooManyPictures, JobNotFound: of the store.
    """
    picture = await _ended(services, job, what)
    try:
        return await serve(request, services.blobs, _file(picture, name))
    except problems.ResultGone:  # an older picture made room while it was asked for, or somebody deleted its bytes
        await to_thread.run_sync(services.pictures.forget, picture)
        require_success(await to_thread.run_sync(services.jobs.get, job.id, job.tenant))
        return await serve(request, services.blobs, _file(await _ended(services, job, what), name))


async def _ended(services: Services, job: Job, what: Mapping[str, Any]) -> Picture:
    bound = services.settings.picture_seconds
    deadline = time.monotonic() + bound
    while True:
        picture = await to_thread.run_sync(services.pictures.ask, job, what)
        if picture.ended:
            break
        if picture.new:
            services.watcher.forget(picture.id)
        services.notifier.notify_of_picture(picture)
        left = min(deadline - time.monotonic(), LOOK_AGAIN_SECONDS)
        if left <= 0 or services.watcher.closed:
            raise problems.PictureLate(
                f"No worker has drawn this picture within {bound:g} s (B2S_PICTURE_SECONDS): they are busy, or away. "
                f"It stays asked for; try again in {RETRY_SECONDS} s.",
                headers={"Retry-After": RETRY_SECONDS},
            )
        await services.watcher.final(picture.id, left)
    if picture.error is not None:
        raise problems.PictureRefused(picture.error.detail, code=picture.error.code)
    return picture


def _file(picture: Picture, name: str) -> StoredFile:
    assert picture.key is not None and picture.bytes is not None and picture.sha256 is not None
    return StoredFile(picture.key, picture.bytes, picture.sha256, MEDIA_TYPE, f"{picture.job_id}-{name}.png")


def _stored(services: Services, job: Job, key: str) -> StoredFile:
    """A picture that no row describes; what it hashes to has to be looked up."""
    try:
        data = services.blobs.get(key)
    except BlobMissing:
        raise gone() from None
    return StoredFile(key, len(data), sha256(data).hexdigest(), MEDIA_TYPE, f"{job.id}-report.png")
