"""The options of one request as they arrive, each at most once, and the refusal of a field."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from service.http import problems
from service.http.problem_document import FieldError

Options = TypeVar("Options", bound=BaseModel)

SHOWN = 60
"""Characters of a name that nobody knows that are said back."""


def refused_field(name: str, message: str) -> problems.InvalidRequest:
    """The refusal of one field of a request."""
    shown = name[:SHOWN]
    return problems.InvalidRequest(f"{shown}: {message}.", errors=[FieldError(field=shown, message=message)])


class Given:
    """Options by name: those of the query from the start, those of the body as they come."""

    def __init__(self, names: Collection[str], request: Request) -> None:
        """`names` are those of the options.

        Raises:
            InvalidRequest: the query names something twice.
        """
        self._names = frozenset(names)
        query = request.query_params
        for name, times in Counter(name for name, _ in query.multi_items()).items():
            if times > 1:
                raise refused_field(name, "given more than once")
        self._query = {name: value for name, value in query.items() if name in self._names}
        self._body: dict[str, Any] = {}

    def add(self, name: str, value: Any) -> None:
        """Note a field of the body.

        Raises:
            InvalidRequest: it came before, in the query or in the body, or there are too many fields.
        """
        if name in self._query:
            raise refused_field(name, "given in the query and in the body; send it once")
        if name in self._body:
            raise refused_field(name, "given more than once")
        most = 2 * len(self._names)
        if len(self._body) >= most:
            raise problems.InvalidRequest(f"The body has more than {most} fields. /docs lists those that are known.")
        self._body[name] = value

    def require_known(self, name: str) -> None:
        """Raise InvalidRequest unless there is an option of that name."""
        if name not in self._names:
            raise refused_field(name, "this field is not known here")

    def parsed(self, kind: type[Options]) -> Options:
        """The options, checked.

        Raises:
            RequestValidationError: a field is unknown or out of range; every such field is named.
        """
        try:
            return kind.model_validate({**self._query, **self._body})
        except ValidationError as refused:
            raise RequestValidationError(refused.errors(include_url=False)) from refused
