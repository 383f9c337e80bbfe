"""The job of a batch: options that hold for all files, and the base models that any of them may need."""

from __future__ import annotations

from anyio import to_thread
from fastapi.responses import Response

from service.intake.base_choice import BaseChoice, for_set, named
from service.intake.batch_files import BatchFiles
from service.intake.fields import refused_field
from service.intake.submission import Submission, Submitter
from store.job import Created, JobKind, NewJob
from store.models import ModelNotFound
from store.options import KNOWS_BATCHES, DenoiseOptions


async def record_batch(
    submitter: Submitter, submission: Submission, options: DenoiseOptions, batch: BatchFiles
) -> Response:
    """Queue the job of a batch whose files are stored, and answer with it. Raises InvalidRequest, and as `record`."""
    batch.require_some()

    def take() -> Created:
        choice = _choose(submitter, options)
        new = _new_job(submission.job_id, options, batch, choice)
        return submission.record(new, lambda: b"", lambda: options.identity() | {"images": batch.identity()})

    created = await to_thread.run_sync(take)
    job, headers = await submission.begin(created, batch.bytes)
    return await submission.answer(job, headers)


def _choose(submitter: Submitter, options: DenoiseOptions) -> BaseChoice:
    """The model asked for, whose fit each file shows, or all base models of a quality."""
    if options.model is None:
        return for_set(submitter.services, options.quality)
    try:
        model = submitter.services.models.get(options.model, submitter.caller.tenant)
    except ModelNotFound as error:
        raise refused_field("model", f"{error} GET /models lists those that exist") from error
    return named(model, "model", options.quality)


def _new_job(job_id: str, options: DenoiseOptions, batch: BatchFiles, choice: BaseChoice) -> NewJob:
    options = options.model_copy(update={"quality": choice.quality})
    return NewJob(
        id=job_id,
        kind=JobKind.DENOISE,
        options=options.row(),
        input={"files": len(batch.files), "bytes": batch.bytes},
        input_key=None,
        pixels=batch.pixels,
        unit="image",
        model=choice.model,
        bases=choice.bases,
        needs=max(options.needs, choice.needs, KNOWS_BATCHES),
        files=batch.files,
    )
