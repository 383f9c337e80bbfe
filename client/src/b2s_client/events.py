"""Server-Sent Events of a job, line by line (WHATWG HTML, section 9.2.6)."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from typing import Any

import httpx

from .connection import unreachable
from .errors import refusal
from .retries import Retries
from .types import FINAL, Event

SILENCE_SECONDS = 60.0
"""The server says something every 15 seconds; four times that in silence means that the connection is dead."""


class NoStream(Exception):
    """An answer that is no stream of events; its body has been read."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(f"HTTP {response.status_code}")
        self.response = response


class EventReader:
    """Turns lines into events and remembers how far it got, so that a lost stream can be taken up where it broke.

    `deadline` is a time of `time.monotonic()`: behind it there is nothing more to read.
    """

    def __init__(self, after: int = 0, deadline: float = math.inf) -> None:
        self.last = after
        self.ended = False
        self._deadline = deadline
        self._final_before = False
        self._failures = 0
        self._heard = False
        self._fields: dict[str, str] = {}

    @property
    def late(self) -> bool:
        """Whether the deadline is over."""
        return self._left <= 0

    @property
    def goes_on(self) -> bool:
        """Whether there is more to ask for, and time to."""
        return not self.ended and not self.late

    def call(self, job_id: str) -> dict[str, Any]:
        """Arguments of the streaming request for the events behind the last one."""
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": str(self.last)} if self.last else {})
        silence = min(SILENCE_SECONDS, max(self._left, 0.01))
        return {
            "method": "GET",
            "url": f"/jobs/{job_id}/events",
            "headers": headers,
            "timeout": httpx.Timeout(silence, connect=10.0),
        }

    def feed(self, line: str) -> Iterator[Event]:
        """Take one line; gives an event when it completes one."""
        self._heard = True
        if line:
            name, _, value = line.partition(":")
            self._fields[name] = value.removeprefix(" ")
            return
        fields, self._fields = self._fields, {}
        if "data" in fields:
            data: dict[str, Any] = json.loads(fields["data"])
            self.last = int(fields["id"])
            self.ended = data.get("state") in FINAL
            yield Event(self.last, fields["event"], data)

    def closed(self, job_is_final: bool) -> None:
        """The stream ended, and the job is as said. It ends with the job, but also when a gateway stops: so a job that
        is final is asked once more for what was missed, and only the second silence counts as the end.
        """
        self._fields = {}
        self.ended = self.ended or (job_is_final and self._final_before)
        self._final_before = job_is_final

    def pause(self, error: httpx.TransportError | NoStream, retries: Retries, url: httpx.URL) -> float:
        """Seconds until the stream is asked for again, now that it broke or was refused.

        Only failures in a row count, and a line heard ends the row: a long job may lose many connections.

        Raises:
            B2SError: it has failed too often, or would fail again.
        """
        self._fields = {}
        if not self.goes_on:
            return 0.0
        self._failures = 1 if self._heard else self._failures + 1
        self._heard = False
        response = error.response if isinstance(error, NoStream) else None
        pause = retries.pause(self._failures, response)
        if pause is not None:
            return min(pause, max(self._left, 0.0))
        if isinstance(error, NoStream):
            raise refusal(error.response) from None
        raise unreachable(url, error) from error

    @property
    def _left(self) -> float:
        return self._deadline - time.monotonic()


def is_stream(response: httpx.Response) -> bool:
    """Whether an answer is a stream of events."""
    return response.status_code == 200 and response.headers.get("content-type", "").startswith("text/event-stream")
