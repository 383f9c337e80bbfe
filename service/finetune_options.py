"""The options of `POST /finetune`: one model for form fields, JSON and query parameters, unknown names refused."""

from collections.abc import Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.parameters import PlainText, WaitQuery, WebhookUrl

FROM_SCRATCH = "none"


class FineTuneOptions(BaseModel):
    """What a caller may choose about one fine-tune."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset_id: str | None = Field(
        None,
        pattern="^set_[0-9a-f]{32}$",
        description="Learn from this dataset instead of from files in the request.",
        examples=["set_0192f0c1a2b37c4d8e5f60718293a4b5"],
    )
    base_model: PlainText | None = Field(
        None,
        max_length=200,
        description=(
            "Id of the model to start from, or `none` to start from nothing. Default: the base model that fits the "
            "images' channels."
        ),
        examples=["base-gray"],
    )
    max_minutes: float | None = Field(
        None,
        gt=0,
        le=100_000,
        allow_inf_nan=False,
        description="Longest training, in minutes; it stops earlier once it no longer helps. Default: 15.",
        examples=[15],
    )
    max_steps: int | None = Field(
        None,
        ge=1,
        le=10_000_000,
        description="Most training steps. The same steps and `seed` give the same model on one kind of machine.",
        examples=[4000],
    )
    name: PlainText | None = Field(
        None, min_length=1, max_length=200, description="What to call the model.", examples=["confocal, 20x"]
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Start of the random numbers.", examples=[0])
    webhook_url: WebhookUrl = None


OPTION_NAMES = frozenset(FineTuneOptions.model_fields)


class FineTuneQuery(WaitQuery, FineTuneOptions):
    """The options as query parameters, with the time to wait."""

    def given(self) -> dict[str, Any]:
        """The options that the query named, without the defaults."""
        return self.model_dump(include=self.model_fields_set & OPTION_NAMES)


def parse_options(body: Mapping[str, Any], query: Mapping[str, Any]) -> FineTuneOptions:
    """The options of one request; a field of the body wins over the query parameter of the same name.

    Raises:
        RequestValidationError: a field is unknown or out of range; every such field is named.
    """
    try:
        return FineTuneOptions.model_validate({**query, **body})
    except ValidationError as refused:
        raise RequestValidationError(refused.errors(include_url=False)) from refused
