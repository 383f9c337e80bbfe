"""The options of the POST routes as requests bring them: those of `store.options`, checked more closely."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from service.http.parameters import WaitQuery, without_controls
from store.options import FROM_SCRATCH, DenoiseOptions, FineTuneOptions


class _Request(BaseModel):
    """What is refused in a request, and may stand in the row of an older one. Last of the bases: its config wins."""

    model_config = ConfigDict(extra="forbid")

    @field_validator("*")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return without_controls(value) if isinstance(value, str) else value

    @field_validator("webhook_url", check_fields=False)
    @classmethod
    def _in_ascii(cls, url: str | None) -> str | None:
        if url is not None and not re.fullmatch(r"[!-~]*", url):
            raise ValueError(
                "a URL is written in ASCII without spaces: copy it from a browser's address bar, or write the host as "
                "xn--… and everything else percent-encoded, as in https://xn--mnchen-3ya.example/%C3%BC"
            )
        return url


class DenoiseRequest(DenoiseOptions, _Request):
    """What a caller may choose about one denoise job."""


class FineTuneRequest(FineTuneOptions, _Request):
    """What a caller may choose about one fine-tune."""

    dataset_id: str | None = Field(
        None,
        pattern="^set_[0-9a-f]{32}$",
        description="Learn from this dataset instead of from files in the request.",
        examples=["set_0192f0c1a2b37c4d8e5f60718293a4b5"],
    )
    base_model: str | None = Field(
        None,
        max_length=200,
        description=(
            f"Id of the model to start from, or `{FROM_SCRATCH}` to start from nothing. Default: the base model that "
            "fits the images' channels."
        ),
        examples=["base-gray"],
    )


class DenoiseQuery(WaitQuery, DenoiseRequest):
    """The options as query parameters, with the time to wait."""


class FineTuneQuery(WaitQuery, FineTuneRequest):
    """The options as query parameters, with the time to wait."""
