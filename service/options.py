"""The options of `POST /denoise`: one model for form fields and query parameters, unknown names refused."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from service.parameters import PlainText, WaitQuery, WebhookUrl

OutputFormat = Literal["png", "jpeg", "webp", "tiff"]


def _check_roi(text: str) -> str:
    values = [int(part) for part in text.split(",")]
    if min(values[2:]) < 1:
        raise ValueError("width and height must be at least 1")
    return ",".join(map(str, values))


Roi = Annotated[str, Field(pattern=r"^[0-9]{1,6},[0-9]{1,6},[0-9]{1,6},[0-9]{1,6}$"), AfterValidator(_check_roi)]


class DenoiseOptions(BaseModel):
    """What a caller may choose about one denoise job. Every field has a default that is right for most images."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: PlainText | None = Field(
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
    output_format: OutputFormat | None = Field(
        None, description="Format of the result. Default: the format of the upload.", examples=["png"]
    )
    roi: Roi | None = Field(
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
    metadata: Literal["keep", "safe", "none"] = Field(
        "keep", description="Metadata in the result: `keep` all, `safe` drops GPS and other traces, `none` drops all."
    )
    report: bool = Field(True, description="Whether to measure the noise and keep a report (`GET /jobs/{id}/report`).")
    webhook_url: WebhookUrl = None


OPTION_NAMES = frozenset(DenoiseOptions.model_fields)


class DenoiseQuery(WaitQuery, DenoiseOptions):
    """The options as query parameters, with the time to wait."""

    def given(self) -> dict[str, Any]:
        """The options that the query named, without the defaults."""
        return self.model_dump(include=self.model_fields_set & OPTION_NAMES)


def parse_options(form: Mapping[str, str], query: Mapping[str, Any]) -> DenoiseOptions:
    """The options of one request; a form field wins over the query parameter of the same name.

    Raises:
        RequestValidationError: a field is unknown or out of range; every such field is named.
    """
    try:
        return DenoiseOptions.model_validate({**query, **form})
    except ValidationError as refused:
        raise RequestValidationError(refused.errors(include_url=False)) from refused
