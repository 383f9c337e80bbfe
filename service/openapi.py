"""What `/openapi.json` says beyond what FastAPI finds out by itself: problem responses, bodies and binary answers."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from service import problems
from service.finetune_options import FineTuneOptions
from service.options import DenoiseOptions
from service.problems import MEDIA_TYPE, Problem, ProblemDocument

Responses = dict[int | str, dict[str, Any]]

PROBLEM_SCHEMA = {"$ref": "#/components/schemas/Problem"}
IMAGE = {"schema": {"type": "string", "contentMediaType": "application/octet-stream", "format": "binary"}}
IMAGE_TYPES = ("image/png", "image/jpeg", "image/webp", "image/tiff")
RESULT_TYPES = (*IMAGE_TYPES, "application/octet-stream")
DESCRIPTION = """
Denoising as a service: send a noisy image, get it back clean. You need no clean example.

Every error is `application/problem+json` (RFC 9457): a stable `type`, a `detail` that names the remedy, and the
`request_id` under which the server logged it. Times are UTC. Every route also answers under `/v1`.
"""


def responses(*kinds: type[Problem]) -> Responses:
    """The problems that a route answers, by status, each kind as an example."""
    found: Responses = {}
    answered: list[type[Problem]] = [*kinds, problems.InternalError]
    for kind in answered:
        entry = found.setdefault(kind.status, {"description": kind.title, "content": {MEDIA_TYPE: _problem_content()}})
        entry["content"][MEDIA_TYPE]["examples"][kind.slug] = {"summary": kind.title, "value": _example(kind)}
    # Whatever is not listed (405, 503 while the database is away…) is a problem document all the same.
    found["default"] = {"description": "Any other problem", "content": {MEDIA_TYPE: {"schema": PROBLEM_SCHEMA}}}
    return found


def _problem_content() -> dict[str, Any]:
    return {"schema": PROBLEM_SCHEMA, "examples": {}}


def _example(kind: type[Problem]) -> dict[str, Any]:
    return kind(kind.meaning()).document("req_5f0c7e1b9a3d4c2e8f6a7b8c9d0e1f2a")


def _header(description: str, example: Any) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}, "example": example}


_IMAGE_SCHEMA = {"$ref": "#/components/schemas/DatasetImageView"}
_JOB_SCHEMA = {"$ref": "#/components/schemas/JobView"}
_RESULT_HEADERS = {
    "ETag": _header("SHA-256 of the bytes.", '"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"'),
    "B2S-Job-Id": _header("The job.", "job_0192f0c1a2b37c4d8e5f60718293a4b5"),
    "B2S-Model": _header("The model that did the work.", "base-gray"),
    "B2S-Noise-Alpha": _header("Estimated α, normalised (Var = α·x + σ²).", "0.0101"),
    "B2S-Noise-Sigma": _header("Estimated σ, normalised.", "0.0004"),
}
_LOCATION = {"Location": _header("The job.", "/jobs/job_0192f0c1a2b37c4d8e5f60718293a4b5")}
_REPLAYED = {"Idempotency-Replayed": _header("`true` if an earlier request with the same key made the job.", "true")}

_NOT_THERE = (problems.JobNotFound, problems.ResultNotReady, problems.JobHasNoResult, problems.ResultGone)

DENOISE_RESPONSES: Responses = {
    200: {
        "description": "The job has ended within the wait: the job, or the image if `Accept` prefers it.",
        "headers": _LOCATION | _REPLAYED | _RESULT_HEADERS,
        "content": {"application/json": {"schema": _JOB_SCHEMA}, **dict.fromkeys(IMAGE_TYPES, IMAGE)},
    },
    202: {"description": "The job was recorded and will run.", "headers": _LOCATION | _REPLAYED},
    **responses(
        problems.RequestRefused,
        problems.NotAcceptable,
        problems.JobCanceled,
        problems.ContentTooLarge,
        problems.ImageTooLarge,
        problems.UnsupportedMediaType,
        problems.InvalidRequest,
        problems.BrokenImage,
        problems.IdempotencyMismatch,
        problems.JobFailed,
        problems.JobDied,
        problems.QuotaExceeded,
        problems.TooManyJobs,
        problems.TooManyQueued,
        problems.QueueFull,
        problems.Unavailable,
    ),
}
FINETUNE_RESPONSES: Responses = {
    200: {"description": "The job has ended within the wait.", "headers": _LOCATION | _REPLAYED},
    202: {"description": "The job was recorded and will run.", "headers": _LOCATION | _REPLAYED},
    **responses(
        problems.RequestRefused,
        problems.DatasetNotFound,
        problems.ContentTooLarge,
        problems.SetTooLarge,
        problems.UnsupportedMediaType,
        problems.InvalidRequest,
        problems.IdempotencyMismatch,
        problems.QuotaExceeded,
        problems.TooManyJobs,
        problems.QueueFull,
        problems.Unavailable,
    ),
}
PUT_IMAGE_RESPONSES: Responses = {
    200: {
        "description": "The same bytes were there already.",
        "content": {"application/json": {"schema": _IMAGE_SCHEMA}},
    },
    201: {"description": "The image was put in, or replaced one of its name."},
    **responses(
        problems.DatasetNotFound,
        problems.DatasetInUse,
        problems.ContentTooLarge,
        problems.SetTooLarge,
        problems.InvalidRequest,
        problems.ChecksumMismatch,
    ),
}
RESULT_RESPONSES: Responses = {
    200: {
        "description": "The whole file: an image, or the weights that a fine-tune made.",
        "headers": _RESULT_HEADERS,
        "content": dict.fromkeys(RESULT_TYPES, IMAGE),
    },
    206: {"description": "The range asked for.", "content": dict.fromkeys(RESULT_TYPES, IMAGE)},
    304: {"description": "You have it: `If-None-Match` names its ETag."},
    **responses(*_NOT_THERE, problems.RangeNotSatisfiable, problems.InvalidRequest),
}
REPORT_RESPONSES = responses(*_NOT_THERE, problems.ReportNotKept, problems.InvalidRequest)
REPORT_PICTURE_RESPONSES: Responses = {
    200: {"description": "The picture.", "content": {"image/png": IMAGE}},
    **REPORT_RESPONSES,
}
# `itemSchema` is OpenAPI 3.2's way to describe one event of a stream; FastAPI writes it too.
_EVENT = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "Counts up; send the last one as `Last-Event-ID` to go on behind it."},
        "event": {"type": "string", "enum": ["state", "progress"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}
EVENT_RESPONSES: Responses = {
    200: {
        "description": "Server-Sent Events until the job has ended.",
        "content": {
            "text/event-stream": {
                "itemSchema": _EVENT,
                "example": 'event: state\ndata: {"state": "running", "attempt": 1}\nid: 2\n\n',
            }
        },
    },
    **responses(problems.JobNotFound, problems.InvalidRequest),
}
WEIGHTS_RESPONSES: Responses = {
    200: {"description": "The safetensors file.", "content": {"application/octet-stream": IMAGE}},
    206: {"description": "The range asked for.", "content": {"application/octet-stream": IMAGE}},
    304: {"description": "You have it: `If-None-Match` names its ETag."},
    **responses(problems.ModelNotFound, problems.RangeNotSatisfiable, problems.InvalidRequest),
}
READY_RESPONSES: Responses = {
    503: {
        "description": "The database or the blob store fails.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Ready"}}},
    },
    **responses(),
}
METRICS_RESPONSES: Responses = {
    200: {"description": "Prometheus text format.", "content": {"text/plain": {"schema": {"type": "string"}}}},
    **responses(),
}


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """A body that may be left out, or null, of a route that reads it itself."""
    schema = {"anyOf": [model.model_json_schema(), {"type": "null"}]}
    return {"required": False, "content": {"application/json": {"schema": schema}}}


def _document_keys(schema: dict[str, Any]) -> None:
    """Every operation that takes a key answers these too; it also works without one where none is asked for."""
    answers = responses(problems.KeyMissing, problems.KeyRefused, problems.ScopeMissing, problems.RateLimited)
    for operation in (operation for path in schema["paths"].values() for operation in path.values()):
        if "security" in operation:
            for status, answer in answers.items():
                known = operation["responses"].setdefault(str(status), answer)
                examples = known["content"][MEDIA_TYPE].get("examples", {})
                examples |= answer["content"][MEDIA_TYPE].get("examples", {})


def _denoise_body() -> dict[str, Any]:
    """Multipart with the options as fields, or the image's bytes alone with the options in the query."""
    form = DenoiseOptions.model_json_schema()
    image = {"type": "string", "format": "binary", "description": "The noisy image: PNG, JPEG, WebP or TIFF."}
    properties = {"image": image, **form["properties"]}
    schema = {"type": "object", "required": ["image"], "properties": properties, "additionalProperties": False}
    return {
        "required": True,
        "content": {"multipart/form-data": {"schema": schema}, **dict.fromkeys(IMAGE_TYPES, IMAGE)},
    }


def _finetune_body() -> dict[str, Any]:
    """Multipart with many files and the options as fields; an archive alone; or JSON that names a dataset."""
    options = FineTuneOptions.model_json_schema()["properties"]
    file = {"type": "string", "format": "binary"}
    images = {"type": "array", "items": file, "description": "Noisy images, or a zip or tar of them."}
    form = {"type": "object", "properties": {"images": images, **options}, "additionalProperties": False}
    named = {"type": "object", "properties": options, "additionalProperties": False}
    dataset = {"value": {"dataset_id": "set_0192f0c1a2b37c4d8e5f60718293a4b5", "max_minutes": 15}}
    return {
        "required": False,
        "content": {
            "multipart/form-data": {"schema": form},
            **dict.fromkeys(("application/zip", "application/x-tar", "application/gzip"), IMAGE),
            "application/json": {"schema": named, "examples": {"dataset": dataset}},
        },
    }


DENOISE_BODY = _denoise_body()
FINETUNE_BODY = _finetune_body()
RAW_IMAGE_BODY = {"required": True, "content": {"application/octet-stream": IMAGE}}


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, made once."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes, tags=app.openapi_tags
        )
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        problem = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(problem.pop("$defs", {}))
        schemas["Problem"] = problem
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        _document_keys(schema)
        app.openapi_schema = schema
    return app.openapi_schema
