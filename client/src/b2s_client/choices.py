"""What can be chosen on the command line, as typer needs it: values of options, and how an option is written."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from .completion import job_ids, model_names


class Format(StrEnum):
    """Formats of results."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"
    TIFF = "tiff"


class Dtype(StrEnum):
    """Sample types of results, beside the upload's."""

    FLOAT32 = "float32"


class Mosaic(StrEnum):
    """What a gray file is."""

    AUTO = "auto"
    NONE = "none"
    BAYER = "bayer"


class Scale(StrEnum):
    """What the samples are scaled by."""

    AUTO = "auto"
    DTYPE = "dtype"
    NONE = "none"


class Lines(StrEnum):
    """What becomes of line noise."""

    AUTO = "auto"
    KEEP = "keep"
    REMOVE = "remove"


class SideChoice(StrEnum):
    """What a preview shows."""

    BEFORE = "before"
    AFTER = "after"
    RESIDUAL = "residual"


class MetadataChoice(StrEnum):
    """What of the metadata a result keeps."""

    KEEP = "keep"
    SAFE = "safe"
    NONE = "none"


class MethodChoice(StrEnum):
    """How a fine-tune learns."""

    AUTO = "auto"
    BLIND2SOUND = "blind2sound"
    THINNING = "thinning"


class NoiseChoice(StrEnum):
    """Whether neighbours share their noise."""

    AUTO = "auto"
    INDEPENDENT = "independent"
    CORRELATED = "correlated"


class FramesChoice(StrEnum):
    """What frames are to each other, or how many of a stack a model sees at once."""

    AUTO = "auto"
    NONE = "none"
    RELATED = "related"
    THREE = "3"
    FIVE = "5"


class QualityChoice(StrEnum):
    """How much work an image is worth."""

    FAST = "fast"
    BEST = "best"


Window = Annotated[
    tuple[float, float] | None,
    typer.Option(metavar="BLACK WHITE", help="Values that become black and white. Default: by itself."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")]
JobId = Annotated[str, typer.Argument(help="Id of a job, as `b2s jobs` shows it.", autocompletion=job_ids)]
ModelName = Annotated[str | None, typer.Option(help="Id or name of `b2s models`.", autocompletion=model_names)]
Url = Annotated[str | None, typer.Option("--url", envvar="B2S_URL", help="Address of the service.")]
Key = Annotated[str | None, typer.Option("--api-key", envvar="B2S_API_KEY", help="Key, if the service asks for one.")]
Output = Annotated[
    str | None,
    typer.Option(
        "--output", "-o", metavar="PATH",
        help="A file, of the format that its suffix names; a folder (one that exists, ends with /, or takes several "
        "files), default `denoised/`; or - for stdout.",
    ),
]  # fmt: skip
