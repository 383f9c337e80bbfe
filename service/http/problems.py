"""Every error the gateway answers, as an RFC 9457 problem document.

    Problem
    ├── RequestRefused           400
    ├── Unauthorized             401   KeyMissing · KeyRefused
    ├── Forbidden                403   ScopeMissing · StorageFull
    ├── NotFound                 404   JobNotFound · ModelNotFound · DatasetNotFound · DatasetImageNotFound ·
    │                                NotABatch · FileNotFound · ReportNotKept · NoPreview · WebhookNotFound ·
    │                                ProblemNotFound
    ├── MethodNotAllowed 405 · NotAcceptable 406 · BodyStalled 408
    ├── Conflict                 409   ResultNotReady · JobHasNoResult · JobIsFinal · JobIsRunning · JobCanceled ·
    │                                ModelInUse · ModelIsShipped · DatasetInUse
    ├── Gone 410 (ResultGone) · ContentTooLarge 413 (ImageTooLarge, SetTooLarge)
    ├── UnsupportedMediaType 415 · RangeNotSatisfiable 416 · HostRefused 421
    ├── InvalidRequest           422   BrokenImage · IdempotencyMismatch · JobFailed · PictureRefused
    ├── TooManyRequests          429   RateLimited · QuotaExceeded · TooManyJobs · TooManyQueued · TooManyPictures
    └── InternalError 500, JobDied 500 · Unavailable 503 (QueueFull, PictureLate)

A subclass is one stable `type`: its slug never changes once released, and `GET /problems/{slug}` serves its docstring.
"""

from collections.abc import Iterator

from service.http.problem import Problem


class Unauthorized(Problem):
    """The request carries no key that is valid here."""

    slug, title, status = "unauthorized", "Key needed", 401


class KeyMissing(Unauthorized):
    """This server asks for a key: send `Authorization: Bearer b2s_…`. The operator makes keys."""

    slug, title = "key-missing", "No key was sent"


class KeyRefused(Unauthorized):
    """The key is mistyped, expired or revoked. Check that all of it was copied, or ask the operator for another one."""

    slug, title = "key-refused", "Key not valid"


class Forbidden(Problem):
    """The key is valid and may not do this."""

    slug, title, status = "forbidden", "Not allowed", 403


class ScopeMissing(Forbidden):
    """The key lacks the scope that this route needs; `detail` names it. Ask the operator for a key that has it."""

    slug, title = "scope-missing", "Scope missing"


class StorageFull(Forbidden):
    """You store as many bytes as your key allows; `GET /usage` counts them. Delete jobs, datasets or models."""

    slug, title = "storage-full", "Storage full"


class NotFound(Problem):
    """No route answers this path. The routes are listed at `/docs`."""

    slug, title, status = "not-found", "No such path", 404


class JobNotFound(NotFound):
    """No job has this id. Ids look like `job_…`; list yours with `GET /jobs`."""

    slug, title = "job-not-found", "No such job"


class ModelNotFound(NotFound):
    """No model has this id. List those that exist with `GET /models`."""

    slug, title = "model-not-found", "No such model"


class DatasetNotFound(NotFound):
    """No dataset has this id. Ids look like `set_…`; list yours with `GET /datasets`."""

    slug, title = "dataset-not-found", "No such dataset"


class DatasetImageNotFound(NotFound):
    """The dataset has no image of this name. `GET /datasets/{id}/images` lists those that it has."""

    slug, title = "dataset-image-not-found", "No such image in the dataset"


class NotABatch(NotFound):
    """Only batches have a list of results: this job has one, `GET /jobs/{id}/result`."""

    slug, title = "not-a-batch", "This job is no batch"


class FileNotFound(NotFound):
    """The batch has no file of this index or name. `GET /jobs/{id}/results` lists those that it has."""

    slug, title = "file-not-found", "No such file in the batch"


class ReportNotKept(NotFound):
    """The job was posted with `report=false`, so it has no report. Post the image again without that option."""

    slug, title = "report-not-kept", "This job has no report"


class NoPreview(NotFound):
    """Only a denoise job of one image has it before and after. A fine-tune is drawn at `/jobs/{id}/report.png`."""

    slug, title = "no-preview", "This job has no preview"


class WebhookNotFound(NotFound):
    """No webhook delivery has this id. List yours with `GET /webhooks`."""

    slug, title = "webhook-not-found", "No such webhook delivery"


class ProblemNotFound(NotFound):
    """No kind of problem has this name. The ones that exist are listed at `GET /problems`."""

    slug, title = "problem-not-found", "No such kind of problem"


class MethodNotAllowed(Problem):
    """The path exists but not with this method. The `Allow` header lists the methods it takes."""

    slug, title, status = "method-not-allowed", "Method not allowed", 405


class NotAcceptable(Problem):
    """The result will not be in a format that `Accept` names. Send `Accept: image/*`, or set `output_format`."""

    slug, title, status = "not-acceptable", "Result format not acceptable", 406


class BodyStalled(Problem):
    """The body of the request came too slowly, or stopped. Send it again, without long pauses."""

    slug, title, status = "body-stalled", "Upload stalled", 408


class Conflict(Problem):
    """The request does not fit the state that the job is in."""

    slug, title, status = "conflict", "Conflict", 409


class ResultNotReady(Conflict):
    """The job is not finished. Wait with `GET /jobs/{id}?wait=30`, or try again after `Retry-After` seconds."""

    slug, title = "result-not-ready", "Result not ready"


class JobHasNoResult(Conflict):
    """The job failed or was canceled, so it never made a result. `GET /jobs/{id}` says why under `error`."""

    slug, title = "job-has-no-result", "This job has no result"


class JobIsFinal(Conflict):
    """The job is already finished, so it cannot be canceled. `DELETE /jobs/{id}` removes its bytes."""

    slug, title = "job-is-final", "Job already finished"


class JobIsRunning(Conflict):
    """The job has not stopped yet, so its bytes are still in use. It was asked to stop; try again shortly."""

    slug, title = "job-is-running", "Job still running"


class ModelInUse(Conflict):
    """A job that has not ended works with the model or starts from it. Wait for it to end, or cancel it."""

    slug, title = "model-in-use", "Model in use"


class ModelIsShipped(Conflict):
    """Base models ship with the program and are everybody's. Only fine-tuned models can be deleted."""

    slug, title = "model-is-shipped", "Base model"


class DatasetInUse(Conflict):
    """A job that has not ended learns from the dataset. New images may come, but none may go; wait, or cancel it."""

    slug, title = "dataset-in-use", "Dataset in use"


class Gone(Problem):
    """What was asked for existed and was removed."""

    slug, title, status = "gone", "Gone", 410


class ResultGone(Gone):
    """The bytes were deleted on request or expired. Post the image again."""

    slug, title = "result-gone", "Result deleted or expired"


class ContentTooLarge(Problem):
    """The body has more bytes than this route takes; uploads, than `B2S_MAX_UPLOAD_BYTES` allows. Nothing was kept."""

    slug, title, status = "content-too-large", "Upload too large", 413


class ImageTooLarge(ContentTooLarge):
    """The image decodes to more pixels or frames than this server takes. Crop, bin or split it, or raise the limit."""

    slug, title = "image-too-large", "Image too large"


class SetTooLarge(ContentTooLarge):
    """A training set or batch is larger than `B2S_MAX_SET_BYTES` or `B2S_MAX_SET_IMAGES` allow. Send fewer images."""

    slug, title = "set-too-large", "Set too large"


class UnsupportedMediaType(Problem):
    """The bytes are not in a format, or came in a coding, that this server reads; the detail names what it does."""

    slug, title, status = "unsupported-media-type", "Unsupported media type", 415


class RangeNotSatisfiable(Problem):
    """The `Range` lies outside the result. `Content-Range` gives the size; ask again within it."""

    slug, title, status = "range-not-satisfiable", "Range not satisfiable", 416


class HostRefused(Problem):
    """An open server on loopback answers to loopback names only, so no web page reaches it by a name of its own."""

    slug, title, status = "host-refused", "Host name refused", 421


class InvalidRequest(Problem):
    """A field is missing, unknown or out of range; `errors` names each. `/docs` lists the fields of every route."""

    slug, title, status = "invalid-request", "Invalid request", 422


class BrokenImage(InvalidRequest):
    """The header of the image cannot be read. The file may be cut short: open it in a viewer and save it again."""

    slug, title = "broken-image", "Broken image"


class ChecksumMismatch(InvalidRequest):
    """The bytes that arrived are not those that the checksum was made of. Send them again."""

    slug, title = "checksum-mismatch", "Bytes damaged on the way"


class IdempotencyMismatch(InvalidRequest):
    """This `Idempotency-Key` came before with another image or other options. Use a fresh key for a new request."""

    slug, title = "idempotency-mismatch", "Idempotency key used for another request"


class JobFailed(InvalidRequest):
    """The job that this request waited for failed on this image; `detail` says why and `job_id` names it."""

    slug, title = "job-failed", "The job failed"


class PictureRefused(InvalidRequest):
    """The image has no such page or channel, or cannot be drawn; `detail` says why. Ask for another picture."""

    slug, title = "picture-refused", "This picture cannot be drawn"


class JobCanceled(Conflict):
    """The job that this request waited for was canceled by another request."""

    slug, title = "job-canceled", "The job was canceled"


class TooManyRequests(Problem):
    """You asked for more than your key allows; `Retry-After` says when there is room again."""

    slug, title, status = "too-many-requests", "Too much asked", 429


class RateLimited(TooManyRequests):
    """More requests in a minute than you may send. Try again after `Retry-After` seconds; wait instead of polling."""

    slug, title = "rate-limited", "Too many requests"


class QuotaExceeded(TooManyRequests):
    """The image does not fit into your pixels of the day, UTC; `resets_at` says when the next day begins."""

    slug, title = "quota-exceeded", "Quota of the day used up"


class TooManyJobs(TooManyRequests):
    """You have as many unfinished jobs as your key allows. Wait for one to end, or cancel one."""

    slug, title = "too-many-jobs", "Too many unfinished jobs"


class TooManyQueued(TooManyRequests):
    """So many of your jobs wait already that no more are taken. Nothing was kept; try again after `Retry-After`."""

    slug, title = "too-many-queued", "Too many of your jobs are waiting"


class TooManyPictures(TooManyRequests):
    """As many of your pictures wait to be drawn as may. Try again after `Retry-After` seconds, a few at a time."""

    slug, title = "too-many-pictures", "Too many pictures are waiting"


class RequestRefused(Problem):
    """The request could not be understood as HTTP should be; `detail` says what to change."""

    slug, title, status = "bad-request", "Bad request", 400


class JobDied(Problem):
    """The job that this request waited for failed for a reason of ours, every time. Send the image again later."""

    slug, title, status = "job-died", "The job failed on our side", 500


class InternalError(Problem):
    """Something broke on our side; nothing you sent was lost that was answered with a job. Quote `request_id`."""

    slug, title, status = "internal-error", "Internal error", 500


class Unavailable(Problem):
    """The database or the blob store does not answer. Try again after `Retry-After` seconds."""

    slug, title, status = "unavailable", "Temporarily unavailable", 503


class QueueFull(Unavailable):
    """So many jobs wait already that one more would wait too long. Nothing was kept; try again after `Retry-After`."""

    slug, title = "queue-full", "Queue full"


class PictureLate(Unavailable):
    """No worker drew the picture in time: they are busy, or away. It stays asked for: try again after `Retry-After`."""

    slug, title = "picture-late", "Picture not drawn yet"


def catalogue() -> dict[str, type[Problem]]:
    """Every kind of problem by slug, parents before children."""

    def walk(kind: type[Problem]) -> Iterator[type[Problem]]:
        for child in kind.__subclasses__():
            yield child
            yield from walk(child)

    return {kind.slug: kind for kind in walk(Problem)}
