"""One request as flows yield it, and how its answer is read; nothing here does I/O."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

from .errors import checked, wrong_address

T = TypeVar("T")
Body = bytes | Path

SLACK_SECONDS = 30.0
"""What a held request may take beyond its wait before it counts as lost."""


@dataclass(frozen=True)
class Call:
    """One request. A file as `body` is streamed from disk, anew for each attempt; `json` is a body of its own."""

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = field(default=None, repr=False)
    held_seconds: float = 0.0
    json: Mapping[str, Any] | None = None

    @property
    def timeout(self) -> httpx.Timeout:
        """Short to connect, long enough to be held."""
        return httpx.Timeout(self.held_seconds + SLACK_SECONDS, connect=10.0)


Flow = Generator[Call, httpx.Response, T]


def read(response: httpx.Response, build: Callable[[dict[str, Any]], T]) -> T:
    """What `build` makes of an answer's JSON. Raises WrongAddress if it can make nothing of it, and as `checked`."""
    checked(response)
    try:
        return build(response.json())
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise wrong_address(response) from error
