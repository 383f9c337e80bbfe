"""An error that the gateway answers as an RFC 9457 problem document; `problems.py` lists the kinds of it."""

from collections.abc import Mapping
from typing import Any, ClassVar

from service.http.problem_document import FieldError, ProblemDocument

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """Base of every error answered as a problem document."""

    slug: ClassVar[str]
    title: ClassVar[str]
    status: ClassVar[int]

    def __init__(
        self,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: list[FieldError] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = dict(headers or {})
        self.errors = errors
        self.members = members

    @classmethod
    def type_uri(cls) -> str:
        """The stable identifier of this kind of problem."""
        return f"/problems/{cls.slug}"

    @classmethod
    def meaning(cls) -> str:
        """What this kind of problem means and what to do about it, as the API documents it."""
        return " ".join((cls.__doc__ or "").split())

    def document(self, request_id: str) -> dict[str, Any]:
        """The JSON body; extension members come after the standard ones."""
        document = ProblemDocument(
            type=self.type_uri(),
            title=self.title,
            status=self.status,
            detail=self.detail,
            request_id=request_id,
            errors=self.errors,
            **self.members,
        )
        return document.model_dump(mode="json", exclude_none=True)
