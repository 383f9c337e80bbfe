"""`POST /finetune`: store the images of a request, or name a dataset, and record the job that learns from them."""

from collections.abc import Sequence
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from service.edge.access import FINETUNE, Caller
from service.http import openapi
from service.http.job_view import JobView
from service.intake.base_choice import BaseChoice, for_set, named
from service.intake.fields import Given, refused_field
from service.intake.options import FineTuneQuery, FineTuneRequest
from service.intake.submission import Submission, SubmitterDep
from service.intake.training_files import manifest, receive_training_files
from service.routes.webhooks import require_webhook_url
from service.services import Services
from store.blobs import input_key
from store.job import Created, JobKind, NewJob
from store.models import ModelNotFound
from store.options import FROM_SCRATCH
from store.training_file import TrainingFile

router = APIRouter(tags=["finetune"])

IMAGES_A_QUERY = 1000


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
async def finetune(request: Request, submitter: SubmitterDep, query: Annotated[FineTuneQuery, Query()]) -> Response:
    """Learn from noisy images alone: send them (many, or a zip or tar), or name a dataset.

    The job goes through `validating`, `training`, `evaluating` and `publishing`; its events carry points for a chart.
    It succeeds with a model: `result.model` names it, and `result.promoted` says whether it beat its base on images
    that it did not learn from.
    """
    services, given = submitter.services, Given(FineTuneRequest.model_fields, request)
    async with Submission(submitter, query.wait) as submission:
        tenant, bound = submitter.caller.tenant, submitter.caller.allowance.stored_bytes
        room = await to_thread.run_sync(services.usage.room, tenant, bound)
        sent = await receive_training_files(request, services, submission, given, room)
        options = _checked(services, given.parsed(FineTuneRequest), sent)

        def take() -> Created:
            """All that blocks, in one change of threads."""
            choice = _choose(services, submitter.caller, options)
            files = sent or _dataset_files(services, options.dataset_id or "", submitter.caller.tenant)
            new = _new_job(submission.job_id, options, files, choice)
            return submission.record(new, lambda: manifest(files), lambda: _body(options, files))

        created = await to_thread.run_sync(take)
    job, headers = await submission.begin(created, sum(file.bytes for file in sent))
    return await submission.answer(job, headers)


def _new_job(job_id: str, options: FineTuneRequest, files: Sequence[TrainingFile], choice: BaseChoice) -> NewJob:
    options = options.model_copy(update={"quality": choice.quality})
    return NewJob(
        id=job_id,
        kind=JobKind.FINETUNE,
        options=options.row(),
        input={"files": len(files), "bytes": sum(file.bytes for file in files)},
        input_key=input_key(job_id),
        pixels=sum(file.pixels for file in files),
        unit="step",
        model=options.base_model if choice.model is None else choice.model,
        bases=choice.bases,
        needs=max(options.needs, choice.needs),
        dataset_id=options.dataset_id,
    )


def _body(options: FineTuneRequest, files: Sequence[TrainingFile]) -> dict[str, Any]:
    """What makes two requests the same: the bytes of the files under their names, and the options."""
    sent = sorted((file.name, file.sha256) for file in files)
    return options.identity() | {"images": sent}


def _checked(services: Services, options: FineTuneRequest, files: Sequence[TrainingFile]) -> FineTuneRequest:
    """The options with the defaults that depend on settings. Raises InvalidRequest when they do not fit the files."""
    if bool(files) == bool(options.dataset_id):
        raise refused_field(
            "images",
            "send files as `images` (curl -F images=@a.tif -F images=@b.tif), or a `dataset_id`, and not both",
        )
    if files and not any(file.archive or file.pixels for file in files):
        raise refused_field("images", f"none of the {len(files)} files is an image or archive that is read here")
    require_webhook_url(options.webhook_url, services.settings)
    bound = services.settings.finetune_minutes
    if options.max_minutes is not None and options.max_minutes > bound:
        raise refused_field("max_minutes", f"at most {bound:g} are allowed here (setting B2S_FINETUNE_MINUTES)")
    return options.model_copy(update={"max_minutes": min(options.minutes, bound)})


def _choose(services: Services, caller: Caller, options: FineTuneRequest) -> BaseChoice:
    """What to start from."""
    if options.base_model is None or options.base_model == FROM_SCRATCH:
        return for_set(services, options.quality)
    try:
        model = services.models.get(options.base_model, caller.tenant)
    except ModelNotFound as error:
        raise refused_field(
            "base_model", f"{error} GET /models lists those that exist; `none` starts from nothing"
        ) from error
    if options.frames in ("3", "5") and int(options.frames) < model.frames:
        raise refused_field(
            "frames",
            f"{model.id} sees {model.frames} frames at once, and so does what is made from it: send {model.frames}, "
            "leave `frames` out, or name another base_model",
        )
    return named(model, "base_model", options.quality)


def _dataset_files(services: Services, dataset_id: str, tenant: str) -> list[TrainingFile]:
    """What is in a dataset now: images that are added later are not learned from. Raises if there is nothing."""
    services.datasets.get(dataset_id, tenant)
    found: list[TrainingFile] = []
    batch = services.datasets.images(dataset_id, IMAGES_A_QUERY)
    while batch:
        found += [TrainingFile(image.name, image.key, image.bytes, image.pixels, image.sha256) for image in batch]
        batch = services.datasets.images(dataset_id, IMAGES_A_QUERY, after=batch[-1].name)
    if not found:
        raise refused_field("dataset_id", "the dataset is empty; PUT /datasets/{id}/images/{name} fills it")
    return found
