"""Make a job of a checked upload: bytes first, then the row, then the ring."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from images.probe import ImageInfo
from service import problems
from service.access import Caller
from service.options import DenoiseOptions
from service.services import Services
from service.uploads import SPOOL_BYTES, Upload
from store.blobs import input_key
from store.errors import IdempotencyConflict, StoreError
from store.ids import new_id
from store.job import Job, JobKind, NewJob
from store.traces import traceparent

log = structlog.get_logger(__name__)


def record(
    services: Services,
    caller: Caller,
    upload: Upload,
    options: DenoiseOptions,
    info: ImageInfo,
    model_id: str,
    request_id: str,
    idempotency_key: str | None,
) -> tuple[Job, bool]:
    """Store the upload and queue its job; or, True, find the job that the same request with the same key made before.

    Blocking. Ring for the job after that.

    Raises:
        IdempotencyMismatch: the key came before with another image or other options.
        QueueFull, QuotaExceeded, TooManyJobs, BlobStoreError: from the store; nothing is left behind.
    """
    new = NewJob(
        id=new_id("job"),
        kind=JobKind.DENOISE,
        options=options.model_dump(mode="json", exclude={"model"} if options.model is None else None),
        input=asdict(info) | {"media_type": info.media_type, "bytes": upload.size},
        input_key=None,
        pixels=info.pixels,
        tenant=caller.tenant,
        allowance=caller.allowance,
        model=model_id,
        request_id=request_id,
        traceparent=traceparent(),
        idempotency_key=idempotency_key,
    )
    try:
        return _store(services, upload, options, new)
    except IdempotencyConflict as error:
        raise problems.IdempotencyMismatch(str(error)) from error


def _body_hash(upload: Upload, options: DenoiseOptions) -> str:
    """What makes two requests the same: the image's bytes and the options, whichever way they were sent."""
    canonical: dict[str, Any] = options.model_dump(mode="json") | {"image": upload.sha256()}
    return hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()


def _store(services: Services, upload: Upload, options: DenoiseOptions, new: NewJob) -> tuple[Job, bool]:
    if new.idempotency_key is not None:
        body_hash = _body_hash(upload, options)
        earlier = services.jobs.find_replay(new.tenant, new.idempotency_key, body_hash)
        if earlier is not None:
            return earlier, True
        new = replace(new, body_hash=body_hash)
    key = input_key(new.id)
    with _removed_unless_used(services, key):
        services.blobs.put(key, upload.file.read() if upload.size <= SPOOL_BYTES else upload.file)
        created = services.jobs.create(replace(new, input_key=key))
        if created.replayed:  # the same request raced us to the row
            services.blobs.delete([key])
    return created.job, created.replayed


@contextmanager
def _removed_unless_used(services: Services, key: str) -> Iterator[None]:
    """Delete the stored upload if its job was not made.

    After an error of the database the job may be there, though its answer was lost: the sweep knows later.
    """
    try:
        yield
    except SQLAlchemyError:
        raise
    except Exception:
        try:
            services.blobs.delete([key])
        except StoreError:
            log.warning("an upload without a job was left behind; the sweep removes it", key=key, exc_info=True)
        raise
