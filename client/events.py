"""Server-Sent Events of a job, line by line (WHATWG HTML, section 9.2.6)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx

from .types import FINAL, Event

SILENCE_SECONDS = 60.0
"""The server says something every 15 seconds; four times that in silence means that the connection is dead."""


class EventReader:
    """Turns lines into events and remembers how far it got, so that a lost stream can be taken up where it broke."""

    def __init__(self, after: int = 0) -> None:
        self.last = after
        self.ended = False
        self._final_before = False
        self._fields: dict[str, str] = {}

    def feed(self, line: str) -> Iterator[Event]:
        """Take one line; gives an event when it completes one."""
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


def event_call(job_id: str, after: int) -> dict[str, Any]:
    """Arguments of the streaming request for events behind number `after`."""
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": str(after)} if after else {})
    return {
        "method": "GET",
        "url": f"/jobs/{job_id}/events",
        "headers": headers,
        "timeout": httpx.Timeout(SILENCE_SECONDS, connect=10.0),
    }
