"""What `/openapi.json` says beyond what FastAPI finds out by itself: problem responses, bodies and binary answers."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from images.probe import READ_FORMATS, WRITTEN_TYPES
from service.http import problems
from service.http.problem import MEDIA_TYPE, Problem
from service.http.problem_document import ProblemDocument
from service.http.shapes import add_shapes, optional_fields
from service.intake.options import DenoiseRequest, FineTuneRequest

Responses = dict[int | str, dict[str, Any]]

PROBLEM_SCHEMA = {"$ref": "#/components/schemas/Problem"}
IMAGE = {"schema": {"type": "string", "contentMediaType": "application/octet-stream", "format": "binary"}}
RESULT_TYPES = (*WRITTEN_TYPES, "application/octet-stream")
ARCHIVE_TYPES = ("application/zip", "application/x-tar")
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
    "B2S-Warnings": _header(
        "Where the result should not be trusted: a JSON array of strings in ASCII, or their number where that would be "
        "longer than 2 KiB; the job has them all, under `result`.",
        "[]",
    ),
}
_LOCATION = {"Location": _header("The job.", "/jobs/job_0192f0c1a2b37c4d8e5f60718293a4b5")}
_REPLAYED = {"Idempotency-Replayed": _header("`true` if an earlier request with the same key made the job.", "true")}

_NOT_THERE = (problems.JobNotFound, problems.ResultNotReady, problems.JobHasNoResult, problems.ResultGone)

DENOISE_RESPONSES: Responses = {
    200: {
        "description": "The job has ended within the wait: the job, or the image if `Accept` prefers it.",
        "headers": _LOCATION | _REPLAYED | _RESULT_HEADERS,
        "content": {"application/json": {"schema": _JOB_SCHEMA}, **dict.fromkeys(WRITTEN_TYPES, IMAGE)},
    },
    202: {"description": "The job was recorded and will run.", "headers": _LOCATION | _REPLAYED},
    **responses(
        problems.RequestRefused,
        problems.NotAcceptable,
        problems.JobCanceled,
        problems.ContentTooLarge,
        problems.ImageTooLarge,
        problems.SetTooLarge,
        problems.UnsupportedMediaType,
        problems.InvalidRequest,
        problems.BrokenImage,
        problems.IdempotencyMismatch,
        problems.JobFailed,
        problems.JobDied,
        problems.StorageFull,
        problems.QuotaExceeded,
        problems.TooManyJobs,
        problems.TooManyQueued,
        problems.QueueFull,
        problems.Unavailable,
    ),
}
FINETUNE_RESPONSES: Responses = {
    200: {
        "description": "The job has ended within the wait.",
        "headers": _LOCATION | _REPLAYED,
        "content": {"application/json": {"schema": _JOB_SCHEMA}},
    },
    202: {"description": "The job was recorded and will run.", "headers": _LOCATION | _REPLAYED},
    **responses(
        problems.RequestRefused,
        problems.DatasetNotFound,
        problems.ContentTooLarge,
        problems.SetTooLarge,
        problems.UnsupportedMediaType,
        problems.InvalidRequest,
        problems.IdempotencyMismatch,
        problems.StorageFull,
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
        problems.ImageTooLarge,
        problems.UnsupportedMediaType,
        problems.BrokenImage,
        problems.StorageFull,
        problems.InvalidRequest,
        problems.ChecksumMismatch,
    ),
}
RESULT_RESPONSES: Responses = {
    200: {
        "description": "The file: an image, the weights that a fine-tune made, or a zip or tar of a batch's results.",
        "headers": _RESULT_HEADERS,
        "content": dict.fromkeys((*RESULT_TYPES, *ARCHIVE_TYPES), IMAGE),
    },
    206: {"description": "The range asked for.", "content": dict.fromkeys(RESULT_TYPES, IMAGE)},
    304: {"description": "You have it: `If-None-Match` names its ETag."},
    **responses(*_NOT_THERE, problems.RangeNotSatisfiable, problems.InvalidRequest),
}
FILE_LIST_RESPONSES: Responses = {
    200: {
        "description": "The list; as a tar, with the results of those that have ended.",
        "content": {"application/x-tar": IMAGE},
    },
    **responses(problems.JobNotFound, problems.NotABatch, problems.ResultGone, problems.InvalidRequest),
}
_NOT_IN_BATCH = (*_NOT_THERE, problems.NotABatch, problems.FileNotFound)
FILE_RESULT_RESPONSES: Responses = {
    200: {
        "description": "The image.",
        "headers": {name: _RESULT_HEADERS[name] for name in ("ETag", "B2S-Job-Id", "B2S-Model")},
        "content": dict.fromkeys(RESULT_TYPES, IMAGE),
    },
    206: RESULT_RESPONSES[206],
    304: RESULT_RESPONSES[304],
    **responses(*_NOT_IN_BATCH, problems.RangeNotSatisfiable, problems.InvalidRequest),
}
FILE_REPORT_RESPONSES = responses(*_NOT_IN_BATCH, problems.ReportNotKept, problems.InvalidRequest)
REPORT_RESPONSES = responses(*_NOT_THERE, problems.ReportNotKept, problems.InvalidRequest)
_DRAWN = (problems.PictureRefused, problems.TooManyPictures, problems.PictureLate, problems.RangeNotSatisfiable)
_PICTURE_TYPES = dict.fromkeys(("image/png", "application/octet-stream"), IMAGE)
_PICTURE: Responses = {
    200: {
        "description": "The picture.",
        "headers": {"ETag": _RESULT_HEADERS["ETag"]},
        "content": _PICTURE_TYPES,
    },
    206: {"description": "The range asked for.", "content": _PICTURE_TYPES},
    304: {"description": "You have it: `If-None-Match` names its ETag."},
}
REPORT_PICTURE_RESPONSES: Responses = {
    **_PICTURE,
    **responses(*_NOT_THERE, problems.ReportNotKept, problems.InvalidRequest, *_DRAWN),
}
PREVIEW_RESPONSES: Responses = {
    **_PICTURE,
    **responses(*_NOT_THERE, problems.NoPreview, problems.InvalidRequest, *_DRAWN),
}
_EVENTS = {  # of no type: to a generator the stream is one text, to schemathesis each event an object
    "description": "Events with `id` (counts up; send the last one as `Last-Event-ID` to go on behind it), `event` "
    "(`state` or `progress`) and `data` (a JSON object).",
}
EVENT_RESPONSES: Responses = {
    200: {
        "description": "Server-Sent Events until the job has ended.",
        "content": {
            "text/event-stream": {
                "schema": _EVENTS,
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
OPEN_RESPONSES = responses(problems.HostRefused)
"""Of routes that anybody may ask."""

READY_RESPONSES: Responses = {
    503: {
        "description": "The database or the blob store fails.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Ready"}}},
    },
    **responses(problems.HostRefused),
}
METRICS_RESPONSES: Responses = {
    200: {"description": "Prometheus text format.", "content": {"text/plain": {"schema": {"type": "string"}}}},
    **responses(),
}


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """A body that may be left out, or null, of a route that reads it itself."""
    schema = {"anyOf": [model.model_json_schema(), {"type": "null"}]}
    return {"required": False, "content": {"application/json": {"schema": schema}}}


EXAMPLES_THAT_EXIST = frozenset({"model_id", "slug"})
"""Parameters whose example is there in every installation. Swagger UI sends what an example says."""


def _make_fillable(operations: list[dict[str, Any]]) -> None:
    """Parameters as a page can send them untouched: no example of a job that is not there, no option twice."""
    for operation in operations:
        for parameter in operation.get("parameters", []):
            if parameter["name"] in EXAMPLES_THAT_EXIST:
                continue
            for holder in (parameter, parameter["schema"]):
                holder.pop("example", None)
                holder.pop("examples", None)
            if parameter["in"] == "query" and not parameter.get("required"):
                schema = parameter["schema"] | {"description": parameter.get("description", "")}
                parameter["schema"] = optional_fields({"": schema})[""]
                parameter["description"] = parameter["schema"].pop("description")


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
    """Multipart with the options as fields, or the bytes of an image or archive with the options in the query.

    The bytes may come with any media type: what they are, the server finds in them.
    """
    form = DenoiseRequest.model_json_schema()
    file = {"type": "string", "format": "binary"}
    image = file | {"description": f"The noisy image: {READ_FORMATS}."}
    images = {"type": "array", "items": file, "minItems": 1, "description": "A batch: images, or a zip or tar of them."}
    options = optional_fields(form["properties"])
    schema = {
        "type": "object",
        "properties": {"image": image, "images": images, **options},
        "oneOf": [{"required": ["image"]}, {"required": ["images"]}],
        "additionalProperties": False,
    }
    return {
        "required": True,
        "content": {"multipart/form-data": {"schema": schema}, "application/octet-stream": IMAGE},
    }


def _finetune_body() -> dict[str, Any]:
    """Multipart with many files and the options as fields; JSON that names a dataset; or the bytes of an archive."""
    options = optional_fields(FineTuneRequest.model_json_schema()["properties"])
    file = {"type": "string", "format": "binary"}
    images = {"type": "array", "items": file, "description": "Noisy images, or a zip or tar of them."}
    form = {"type": "object", "properties": {"images": images, **options}, "additionalProperties": False}
    named = {"type": "object", "properties": options, "additionalProperties": False}
    return {
        "required": False,
        "content": {
            "multipart/form-data": {"schema": form},
            "application/json": {"schema": named},
            "application/octet-stream": IMAGE,
        },
    }


DENOISE_BODY = _denoise_body()
FINETUNE_BODY = _finetune_body()
RAW_IMAGE_BODY = {"required": True, "content": {"application/octet-stream": IMAGE}}


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, made once."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            description=DESCRIPTION,
            routes=app.routes,
            tags=app.openapi_tags,
            license_info={"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        )
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        problem = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(problem.pop("$defs", {}))
        schemas["Problem"] = problem
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        add_shapes(schemas)
        operations = [operation for path in schema["paths"].values() for operation in path.values()]
        _make_fillable(operations)
        _document_keys(schema)
        for operation in operations:
            operation.setdefault("security", [])  # what asks for no key says so
        schema["servers"] = [{"url": "/", "description": "This service"}]
        app.openapi_schema = schema
    return app.openapi_schema
