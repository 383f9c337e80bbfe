"""What a preview shows, typed once: a request is checked by it, a picture's row keeps it, a worker reads it."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

MAX_SIDE = 2048
"""Pixels of the longest side of a preview; the image itself is at `/jobs/{id}/result`."""

DEFAULT_SIDE = 1024
MIN_SIDE = 16
_NUMBER = r"-?[0-9]{1,20}(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,3})?"
WINDOW_PATTERN = rf"^(?:auto|{_NUMBER},{_NUMBER})$"
REPORT = {"side": "report"}
"""What the picture of a job's report shows, as its row has it."""

AUTO = "auto"


def _canonical(text: str) -> str:
    """The window in one spelling, so that the same picture is drawn once. Raises ValueError."""
    if text == AUTO:
        return text
    if re.fullmatch(WINDOW_PATTERN, text) is None:
        raise ValueError("a window is `auto`, or black and white as in 100,4000")
    black, white = map(float, text.split(","))
    if not (math.isfinite(black) and math.isfinite(white) and black < white):
        raise ValueError("black must be less than white, and both of a sane size")
    return f"{black!r},{white!r}"


Window = Annotated[str, AfterValidator(_canonical), WithJsonSchema({"type": "string", "pattern": WINDOW_PATTERN})]


class Preview(BaseModel):
    """Which part of a job a preview shows, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    side: Literal["before", "after", "residual"] = Field(
        "after",
        description="The upload, the result, or what was taken out: gray is nothing, and the scale four deviations.",
    )
    page: int = Field(0, ge=0, le=1_000_000, description="Page or frame of a stack, from 0.", examples=[0])
    window: Window = Field(
        AUTO,
        description=(
            "`black,white`: the values, in the numbers that other programs show, that become black and white. `auto`: "
            "0 to 255 of images of 8 bits, else between the percentiles 0.2 and 99.8 of the result's page; camera raw "
            "is developed. It is the same before and after, so that the two can be compared."
        ),
        examples=[AUTO],
    )
    max: int = Field(
        DEFAULT_SIDE,
        ge=MIN_SIDE,
        le=MAX_SIDE,
        description="Most pixels of the longest side; larger images are shrunk by a whole factor, by means of blocks.",
        examples=[DEFAULT_SIDE],
    )
    channel: int | None = Field(
        None,
        ge=0,
        le=1000,
        description=(
            "One channel, from 0, in gray. Default: colours of three channels, and the mean where there are others."
        ),
        examples=[None],
    )

    @property
    def levels(self) -> tuple[float, float] | None:
        """What becomes black and white; None: that is for the image to say."""
        if self.window == AUTO:
            return None
        black, white = self.window.split(",")
        return float(black), float(white)

    def row(self) -> dict[str, Any]:
        """As a picture's row keeps it."""
        return self.model_dump(mode="json")
