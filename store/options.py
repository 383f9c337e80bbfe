"""What may be chosen about a job, typed once: requests are checked by it, a row keeps it, a worker reads it.

A row may be older than this program, which then fills in defaults, or newer: an option without a name here is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError, WithJsonSchema

from store.errors import OptionsNotUnderstood

FROM_SCRATCH = "none"
"""The base model of a fine-tune that starts from nothing."""

REVISION = 5
"""What this program knows about rows; it is raised when a worker must not run a job without knowing more.

1: `quality`, and the base models that a row pins.
2: the `method` of a fine-tune.
3: `frames` of a fine-tune, and models that see several frames of a stack.
4: whether the `noise` of a fine-tune's set is shared by neighbours.
5: batches, denoise jobs of several files.
"""
KNOWS_METHODS, KNOWS_FRAMES, KNOWS_NOISE, KNOWS_BATCHES = 2, 3, 4, 5

DEFAULT_MINUTES = 15.0
ROI_PATTERN = "^[0-9]{1,6},[0-9]{1,6},[0-9]{1,6},[0-9]{1,6}$"


@dataclass(frozen=True)
class Roi:
    """A region of interest in pixels as stored, from the top left."""

    x: int
    y: int
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.x},{self.y},{self.width},{self.height}"

    def lies_in(self, width: int, height: int) -> bool:
        """Whether all of it is inside an image of this size."""
        return self.x + self.width <= width and self.y + self.height <= height


def _parse_roi(value: object) -> object:
    if not isinstance(value, str):
        return value
    parts = value.split(",")
    if len(parts) != 4 or not all(part.isascii() and part.isdecimal() and len(part) <= 6 for part in parts):
        raise ValueError("a crop is written as x,y,width,height in pixels, as in 0,0,256,256")
    x, y, width, height = map(int, parts)
    if min(width, height) < 1:
        raise ValueError("width and height must be at least 1")
    return Roi(x, y, width, height)


RoiText = Annotated[
    Roi,
    BeforeValidator(_parse_roi),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": ROI_PATTERN}),
]


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Frames = Annotated[Literal["auto", "none", "related", "3", "5"], BeforeValidator(_as_text)]
"""In JSON the numbers may be numbers."""


LATER = frozenset({"quality", "method", "frames", "noise", "output_dtype", "mosaic", "lines"})
"""Options that gateways of before did not know: a request without them is the same to both while an upgrade runs."""


class JobOptions(BaseModel):
    """What jobs of every kind have."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    quality: Literal["fast", "best"] | None = Field(
        None,
        description=(
            "Which of the base models: `best` costs some seven times the work of `fast`. Not together with a model "
            "that is named. Default: as the operator set it (B2S_QUALITY)."
        ),
        examples=["best"],
    )
    webhook_url: str | None = Field(
        None,
        max_length=2000,
        pattern="^https?://",
        description=(
            "Where to POST a signed message once the job has ended (Standard Webhooks): at least once, with retries "
            "over hours. `GET /webhooks` shows what came of it."
        ),
        examples=["https://example.com/hooks/b2s"],
    )

    @property
    def needs(self) -> int:
        """The least `REVISION` of a worker."""
        return 0 if self.quality is None else 1

    def identity(self) -> dict[str, Any]:
        """What makes two requests the same. One of `LATER` options counts once it is not its default."""
        late = {name for name, field in type(self).model_fields.items() if name in LATER}
        defaults = {name for name in late if getattr(self, name) == type(self).model_fields[name].default}
        return self.model_dump(mode="json", exclude=defaults)

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> Self:
        """The options of a row. Raises OptionsNotUnderstood: one has a value that this program does not know."""
        try:
            return cls.model_validate(options)
        except ValidationError as error:
            raise OptionsNotUnderstood(
                "; ".join(f"{problem['loc'][0]}={problem['input']!s:.60}" for problem in error.errors())
            ) from None


class DenoiseOptions(JobOptions):
    """Of a denoise job. Every option has a default that is right for most images."""

    model: str | None = Field(
        None,
        max_length=200,
        description="Id of a model of `GET /models`. Default: the base model that fits the image's channels.",
        examples=["base-gray"],
    )
    strength: float = Field(
        1.0,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Share of the estimated noise that is taken out: 0 gives the input back, 1 the full result.",
        examples=[1.0],
    )
    output_format: Literal["png", "jpeg", "webp", "tiff"] | None = Field(
        None, description="Format of the result. Default: the format of the upload.", examples=["png"]
    )
    output_dtype: Literal["float32"] | None = Field(
        None,
        description=(
            "Type of the result's samples. Default: the upload's, whose whole numbers are too coarse for photon counts "
            "of a few a pixel. `float32` holds the values themselves, in the units of the file, and needs a format "
            "that can: TIFF, NPY, FITS."
        ),
    )
    mosaic: Literal["auto", "none", "bayer"] = Field(
        "auto",
        description=(
            "Whether an image of one channel is a 2 x 2 colour mosaic, which is denoised by colour site: `auto` looks "
            "at the header and the pixels, `bayer` says so, `none` makes it one gray image, unless it is camera raw."
        ),
    )
    roi: RoiText | None = Field(
        None,
        description="Denoise and return only this crop: `x,y,width,height` in pixels as stored. Good for previews.",
        examples=["0,0,256,256"],
    )
    normalize: Literal["auto", "dtype", "none"] = Field(
        "auto",
        description=(
            "How samples are scaled to [0, 1] for the network: `auto` by the image's own percentiles, `dtype` by the "
            "full range of its sample type, `none` for data that is in [0, 1] already. The result is scaled back."
        ),
    )
    lines: Literal["auto", "keep", "remove"] = Field(
        "auto",
        description=(
            "Line noise of rows and columns: `auto` takes out what is line noise with certainty, `remove` also what "
            "repeats and stronger lines, a scene's own full-width stripes included, `keep` nothing."
        ),
    )
    metadata: Literal["keep", "safe", "none"] = Field(
        "keep", description="Metadata in the result: `keep` all, `safe` drops GPS and other traces, `none` drops all."
    )
    report: bool = Field(True, description="Whether to measure the noise and keep a report (`GET /jobs/{id}/report`).")

    def row(self) -> dict[str, Any]:
        """As the job's row keeps it: with a model that somebody named, or a quality."""
        return _without_none(self.model_dump(mode="json", include=set(DenoiseOptions.model_fields)), "model", "quality")


class FineTuneOptions(JobOptions):
    """Of a fine-tune. What it starts and learns from stands in columns of its own."""

    method: Literal["auto", "blind2sound", "thinning"] | None = Field(
        None,
        description=(
            "How to learn. `thinning` splits each image into two of independent noise; `blind2sound` is the paper's "
            "method: denoiser and noise estimator together. All are judged alike. Default: `auto`, which takes what "
            "was measured best for such a start, or tries several for a share of the budget and goes on with the best."
        ),
        examples=["auto"],
    )
    noise: Literal["auto", "independent", "correlated"] | None = Field(
        None,
        description=(
            "Whether neighbouring pixels share their noise, as behind demosaicking, compression or resampling. "
            "Default: `auto`, which measures it; the report says what was found. Else it is taken for so whatever the "
            "set shows."
        ),
        examples=["auto"],
    )
    max_minutes: float | None = Field(
        None,
        gt=0,
        le=100_000,
        allow_inf_nan=False,
        description=(
            f"Longest training, in minutes; it stops earlier once it no longer helps. Default: {DEFAULT_MINUTES:g}."
        ),
        examples=[15],
    )
    max_steps: int | None = Field(
        None,
        ge=1,
        le=10_000_000,
        description="Most training steps. The same steps and `seed` give the same model on one kind of machine.",
        examples=[4000],
    )
    name: str | None = Field(
        None, min_length=1, max_length=200, description="What to call the model.", examples=["confocal, 20x"]
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Start of the random numbers.", examples=[0])
    frames: Frames | None = Field(
        None,
        description=(
            "Frames that belong together: pages of a stack, or files that are numbered. `related`: they show one scene "
            "with noise of their own, so one is learned from the others; `none`: each image is by itself; `auto` "
            "looks; `3` or `5`: the model is to see so many frames of a stack at once. Default: `auto`."
        ),
        examples=["auto"],
    )

    @property
    def needs(self) -> int:
        """The least `REVISION` of a worker: older ones know one method, and take every image by itself."""
        frames = 0 if self.frames in (None, "auto", "none") else KNOWS_FRAMES
        noise = 0 if self.noise in (None, "auto") else KNOWS_NOISE
        return max(super().needs, frames, noise, 0 if self.method in (None, "auto") else KNOWS_METHODS)

    @property
    def minutes(self) -> float:
        """Longest training."""
        return DEFAULT_MINUTES if self.max_minutes is None else self.max_minutes

    def row(self) -> dict[str, Any]:
        """As the job's row keeps it."""
        row = self.model_dump(mode="json", include=set(FineTuneOptions.model_fields))
        return _without_none(row, "quality", "method", "frames", "noise")


def _without_none(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None or name not in names}
