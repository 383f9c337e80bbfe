"""Parameters that several routes share."""

import unicodedata
from typing import Annotated

from fastapi import Header
from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def without_controls(text: str) -> str:
    """The text. Raises ValueError if it has control characters."""
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise ValueError("control characters are not taken here")
    return text


PlainText = Annotated[str, AfterValidator(without_controls)]
"""Any text that may reach the database: PostgreSQL keeps no NUL, and a job that names one could never end."""

Prefer = Annotated[
    str | None,
    Header(description="`wait=SECONDS` holds the request until the job has ended (RFC 7240).", examples=["wait=30"]),
]

LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        description="Id of the last event you have; the stream goes on behind it. Browsers send it by themselves.",
        examples=["3"],
    ),
]


class WaitQuery(BaseModel):
    """How long to hold a request for a job."""

    model_config = ConfigDict(extra="forbid")

    wait: float | None = Field(
        None,
        ge=0,
        le=86_400,
        allow_inf_nan=False,
        description=(
            "Hold the request up to so many seconds until the job has ended (`Prefer: wait=SECONDS` does the same). "
            "The server's bound is B2S_MAX_WAIT_SECONDS; a longer wait is cut to it."
        ),
        examples=[30],
    )
