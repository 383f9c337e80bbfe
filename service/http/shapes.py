"""The shapes of what jobs and models keep as documents: options, input, result, timings, a model's card.

Rows may be older or newer than this program, so an answer is what the row holds, unchecked; these tell what that is.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from store.options import DenoiseOptions, FineTuneOptions

Schema = dict[str, Any]


class _Document(BaseModel):
    model_config = ConfigDict(extra="allow")


class ImageInput(_Document):
    """What the header of an uploaded image says."""

    format: str = Field(description="Name of the format.", examples=["png"])
    media_type: str | None = Field(None, examples=["image/png"])
    width: int
    height: int
    channels: int = Field(description="Colours, alpha not counted.")
    dtype: str = Field(description="NumPy's name of the sample type.", examples=["uint8"])
    frames: int = Field(1, description="Images in the file: pages, planes, frames.")
    has_alpha: bool = False
    bits: int = Field(8, description="Depth of one sample in the file.")
    bytes: int | None = Field(None, description="Size of the upload.")
    name: str | None = Field(None, description="File name that it was sent with.", examples=["cells.tif"])


class SetInput(_Document):
    """What was sent to learn from, or as a batch."""

    files: int
    bytes: int


class ImageResult(_Document):
    """The image that a job made, and the noise that was found. Normalised: in [0, 1] of its range."""

    media_type: str = Field(examples=["image/png"])
    extension: str = Field(examples=[".png"])
    bytes: int
    sha256: str
    width: int | None = None
    height: int | None = None
    model: str | None = Field(None, description="The model that did the work.")
    model_sha256: str | None = None
    warnings: list[str] | None = Field(None, description="Where the result should not be trusted.")
    alpha: float | None = Field(None, description="Signal-dependent noise, Var = α·x + σ², normalised.")
    sigma: float | None = Field(None, description="Signal-independent noise, normalised.")
    alpha_native: float | None = Field(None, description="α in the units of the file.")
    sigma_native: float | None = Field(None, description="σ in the units of the file.")
    noise_std_in: float | None = Field(None, description="Noise std of the upload, normalised.")
    noise_std_out: float | None = Field(None, description="Expected error left in the result, normalised.")


class BatchResult(_Document):
    """What came of a batch so far; its results as one archive are `GET /jobs/{id}/result`."""

    files: int = Field(description="Files in all.", examples=[12])
    succeeded: int = Field(description="Files that have a result.", examples=[11])
    failed: int = Field(description="Files that have none; the list of results says why.", examples=[1])
    bytes: int = Field(description="Of all results.", examples=[2198412])
    media_type: str = Field(examples=["application/zip"])
    extension: str = Field(examples=[".zip"])


class ModelResult(_Document):
    """The model that a fine-tune made."""

    model: str = Field(description="Its id.")
    promoted: bool = Field(description="Whether it beat its base on images that it did not learn from.")
    scores: dict[str, float] = Field(description="dB and their certainty, estimated without clean images.")
    set: dict[str, Any] = Field(description="How many files were kept and left out.")
    warnings: list[str]
    media_type: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    alpha: float | None = None
    sigma: float | None = None


class Timings(_Document):
    """Seconds by stage. Stages that a job did not go through are left out."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"additionalProperties": {"type": "number"}})

    queued: float | None = Field(None, description="Until a worker took it.")
    decode: float | None = None
    compute: float | None = None
    encode: float | None = None
    store: float | None = Field(None, description="Reading and writing bytes.")
    report: float | None = None
    validate_: float | None = Field(None, alias="validate", description="Of a fine-tune: reading the set.")
    train: float | None = None
    publish: float | None = None


class ModelCard(_Document):
    """How a model was made, and what it scored. Base models and fine-tuned ones tell different things."""

    name: str | None = None
    about: str | None = Field(None, description="What it was trained on, with the terms of the images.")
    method: str | None = Field(None, description="How it was trained.")
    preset: str | None = Field(None, description="Size of the network.")
    trained_by: str | None = None
    started_from: str | None = None
    promoted: bool | None = None
    scores: dict[str, float] | None = None
    noise: dict[str, Any] | None = Field(None, description="The noise that it knows.")
    steps: int | None = None
    best_step: int | None = None
    minutes: float | None = None
    job_id: str | None = Field(None, description="The fine-tune that made it.")


_PREFIX = "#/components/schemas/"
_OPTIONS: dict[str, type[BaseModel]] = {"DenoiseJobOptions": DenoiseOptions, "FineTuneJobOptions": FineTuneOptions}
_ALWAYS = {"DenoiseJobOptions": ["strength"], "FineTuneJobOptions": ["seed"]}
"""Options that rows of every version hold; by these a generated client tells the kinds apart."""


def add_shapes(schemas: dict[str, Schema]) -> None:
    """Put these shapes into the components, and name them where jobs and models show such documents."""
    kinds: list[type[BaseModel]] = [ImageInput, SetInput, ImageResult, BatchResult, ModelResult, Timings, ModelCard]
    for kind in kinds:
        schemas[kind.__name__] = _flat(kind.model_json_schema(by_alias=True))
    for name, options in _OPTIONS.items():
        shape = _flat(options.model_json_schema(mode="serialization"))
        schemas[name] = shape | {"title": name, "required": _ALWAYS[name], "additionalProperties": True}
        schemas[name]["description"] = "The options that a job runs with, defaults filled in."
    job = schemas["JobView"]["properties"]
    _name(job, "options", *_OPTIONS)
    _name(job, "input", ImageInput.__name__, SetInput.__name__)
    _name(job, "result", ImageResult.__name__, BatchResult.__name__, ModelResult.__name__, null=True)
    _name(job, "timings", Timings.__name__)
    _name(schemas["ModelView"]["properties"], "card", ModelCard.__name__)


UNSAID = ("default", "examples", "example", "pattern")


def optional_fields(properties: dict[str, Schema]) -> dict[str, Schema]:
    """Fields of a form or a query as clients and pages fill them in.

    Without `null`, which no form can send; without defaults, which generated clients would send in the form and in the
    query; without examples and patterns, by which Swagger UI would fill in every field. The words say them instead.
    """
    return {name: _optional(field) for name, field in properties.items()}


def _optional(field: Schema) -> Schema:
    kinds = [kind for kind in field.get("anyOf", []) if kind != {"type": "null"}]
    plain = {name: value for name, value in field.items() if name not in UNSAID}
    if len(kinds) == 1:
        plain.pop("anyOf")
        plain |= {name: value for name, value in kinds[0].items() if name not in UNSAID}
    default = field.get("default")
    if default is not None and "Default" not in plain.get("description", ""):
        shown = str(default).lower() if isinstance(default, bool) else f"{default}"
        plain["description"] = f"{plain.get('description', '')} Default: {shown}.".strip()
    return plain


def _flat(schema: Schema) -> Schema:
    """Without defaults: what is missing in an answer is missing, not the default."""
    properties = schema.get("properties", {})
    for field in properties.values():
        field.pop("default", None)
    return schema


def _name(properties: dict[str, Schema], field: str, *names: str, null: bool = False) -> None:
    kinds: list[Schema] = [{"$ref": _PREFIX + name} for name in names] + [{"type": "null"}] * null
    shape = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    kept = {key: properties[field][key] for key in ("title", "description") if key in properties[field]}
    properties[field] = kept | shape
