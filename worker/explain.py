"""What an exception means for the job: can another attempt work, and what do we tell the person who sent it?"""

from __future__ import annotations

import errno

import structlog
import torch
from sqlalchemy.exc import SQLAlchemyError

from images.errors import DecoderKilled, ImageError
from model.errors import ModelError, WeightsError
from store.errors import BlobMissing, BlobStoreError, OptionsNotUnderstood
from store.job import JobError
from store.models import ModelNotFound
from worker.errors import Refused, Retriable, Stopped

log = structlog.get_logger(__name__)

CRASHED = JobError(
    "internal_error", "A worker failed on this job, every time it was tried. It is logged; report it with the job's id."
)


def explain(error: Exception) -> Stopped:
    """The reason to stop behind any exception. No text of an unknown one reaches a user; the log has it all."""
    match error:
        case Stopped():
            return error
        case ImageError():
            return Refused(error.code, str(error))
        case DecoderKilled():
            log.error("decoder_killed", reason=str(error))
            return Retriable("decoder_killed", f"{error} It was out of memory, most likely: send it again later.")
        case ModelNotFound():
            return Refused("model_not_found", f"{error} It was deleted after the job was sent; choose another one.")
        case WeightsError():
            return Refused("model_unusable", f"{error} Choose another model.")
        case ModelError():
            return Refused("not_denoisable", str(error))
        case OptionsNotUnderstood():
            return Refused("options_not_understood", f"This worker does not understand {error}; leave it out.")
        case BlobMissing():
            return Refused("input_gone", "The bytes of this job were deleted before it ran; send them again.")
        case BlobStoreError() | SQLAlchemyError():
            log.warning("storage_failed", reason=str(error))
            return Retriable("storage_unavailable", "The storage did not answer; send the job again later.")
        case OSError(errno=errno.ENOSPC | errno.EDQUOT | errno.EFBIG):
            log.error("scratch_full", reason=str(error))
            return Retriable("disk_full", "A worker has no room for temporary files; send the job again later.")
        case MemoryError() | torch.cuda.OutOfMemoryError():
            log.warning("out_of_memory", reason=str(error))
            return Retriable("out_of_memory", "The image needs more memory than a worker has; send it in parts.")
    log.error("attempt_crashed", exc_info=error)
    return Retriable(
        CRASHED.code,
        CRASHED.detail,
        fatal=isinstance(error, torch.AcceleratorError),  # after one, every call on that CUDA context fails
    )
