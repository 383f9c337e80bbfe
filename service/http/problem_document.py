"""What a problem looks like on the wire: RFC 9457."""

from pydantic import BaseModel, ConfigDict, Field


class FieldError(BaseModel):
    """One field of the request that was refused."""

    field: str = Field(description="Name of the form field, query parameter or header.", examples=["strength"])
    message: str = Field(description="What is wrong with it.", examples=["Input should be less than or equal to 1"])


class ProblemDocument(BaseModel):
    """RFC 9457 problem details: what went wrong and what to do about it."""

    model_config = ConfigDict(title="Problem", extra="allow")

    type: str = Field(
        description="Stable identifier; resolves to its documentation.", examples=["/problems/job-not-found"]
    )
    title: str = Field(description="The kind of problem, the same for every occurrence.", examples=["No such job"])
    status: int = Field(description="The HTTP status code.", ge=400, le=599, examples=[404])
    detail: str = Field(description="This occurrence in words, with the remedy.")
    request_id: str = Field(description="Quote it when you report the problem; the log lines carry it.")
    errors: list[FieldError] | None = Field(default=None, description="The refused fields, for a 422.")
