"""A fine-tune takes minutes: neither a gateway that restarts nor a cleanup that fails may cost its result."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import b2s_client as b2s
from b2s_client import AsyncClient, Client
from tests.client.both import BOTH, Call
from tests.harness.gateway import running_gateway

IMAGES = [np.full((8, 8), 7, np.uint8)]
RESULT = {"model": "mdl_1", "promoted": True, "scores": {}, "set": {"kept": 1, "left_out": 0}, "warnings": []}
STATES = ["queued", "running", "succeeded"]


class Service:
    """A service whose fine-tune has run: two events, then its gateway stops; the last one at the next request.

    `refusals` are statuses that the stream of events answers with before it does; `deletion` is what DELETE answers.
    """

    def __init__(self, deletion: int = 204, refusals: tuple[int, ...] = ()) -> None:
        self.deletion = deletion
        self.refusals = list(refusals)
        self.asked: list[tuple[str, str]] = []
        self.resumed_after: list[str | None] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.asked.append((request.method, path))
        if path.endswith("/events"):
            return self._events(request.headers.get("last-event-id"))
        if request.method == "DELETE":
            return httpx.Response(self.deletion, json={"status": self.deletion, "detail": "no"})
        if path == "/datasets" and request.method == "GET":
            return httpx.Response(200, json={"datasets": []})
        if path == "/datasets":
            return httpx.Response(201, json={"id": "set_1", "links": {"images": "/datasets/set_1/images"}})
        if path == "/datasets/set_1/images":
            return httpx.Response(200, json={"images": [], "next_cursor": None})
        return httpx.Response(200, json=job("succeeded"))

    def _events(self, after: str | None) -> httpx.Response:
        self.resumed_after.append(after)
        if self.refusals and after:
            return httpx.Response(self.refusals.pop(0), text="Bad Gateway")
        numbers = (3,) if after else (1, 2)
        lines = "".join(f"id: {n}\nevent: state\ndata: {json.dumps({'state': STATES[n - 1]})}\n\n" for n in numbers)
        return httpx.Response(200, headers={"content-type": "text/event-stream; charset=utf-8"}, text=lines)


def job(state: str) -> dict[str, Any]:
    progress = {"done": 0, "total": None, "unit": "step"}
    made = {"id": "job_1", "kind": "finetune", "state": state, "progress": progress, "result": RESULT}
    return made | {"created_at": "2026-11-22T00:00:00Z"}


@pytest.mark.parametrize("call", BOTH)
@pytest.mark.parametrize("status", [204, 404, 409, 503])
def test_a_dataset_that_is_not_removed_costs_no_model(call: Call, status: int) -> None:
    service = Service(deletion=status)
    assert call(service, "finetune", IMAGES).model == "mdl_1"
    assert ("DELETE", "/datasets/set_1") in service.asked


@pytest.mark.parametrize("call", BOTH)
def test_events_go_on_behind_the_last_one_after_a_gateway_restarted(call: Call) -> None:
    service = Service(refusals=(502, 503, 429))
    events: list[b2s.Event] = []
    assert call(service, "finetune", IMAGES, on_event=events.append).model == "mdl_1"
    assert [event.id for event in events] == [1, 2, 3]
    assert service.resumed_after == [None, "2", "2", "2", "2"]


@pytest.mark.parametrize("call", BOTH)
def test_a_gateway_that_stays_away_is_told(call: Call) -> None:
    service = Service(refusals=(502,) * 9)
    with pytest.raises(b2s.Unavailable, match="Bad Gateway"):
        call(service, "events", "job_1")
    assert len(service.resumed_after) == 1 + 5
    with pytest.raises(b2s.NotFound):
        call(Service(refusals=(404,)), "events", "job_1")


@pytest.mark.parametrize("call", BOTH)
def test_a_stream_that_says_no_more_is_taken_up_however_often(call: Call) -> None:
    """A proxy that cuts streams off cuts many while a job waits its turn."""
    service = Service()
    cuts = iter(range(12))

    def cut(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events") and next(cuts, None) is not None:
            return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Cut())
        return service(request)

    assert [event.id for event in call(cut, "events", "job_1")] == [1, 2, 3]


class Cut(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A sign of life, and then nothing."""

    def __iter__(self) -> Any:
        yield b": ping\n\n"
        raise httpx.RemoteProtocolError("cut off")

    async def __aiter__(self) -> Any:
        yield b": ping\n\n"
        raise httpx.RemoteProtocolError("cut off")


def test_the_timeout_bounds_events_too(tmp_path: Path) -> None:
    """On a real gateway, whose job waits for a worker that is not there: its stream stays open and silent."""
    events: list[b2s.Event] = []

    async def run(url: str) -> None:
        async with AsyncClient(url) as http:
            await http.finetune(IMAGES, timeout=0.5, on_event=events.append)

    with running_gateway(tmp_path) as gateway:
        for attempt in (1, 2):
            begin = time.monotonic()
            with pytest.raises(b2s.TimedOut, match="queued"):
                if attempt == 1:
                    with Client(gateway.url) as http:
                        http.finetune(IMAGES, timeout=0.5, on_event=events.append)
                else:
                    asyncio.run(run(gateway.url))
            assert time.monotonic() - begin < 3
    assert [event.data["state"] for event in events] == ["queued", "queued"]
