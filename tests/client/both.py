"""One call by both clients, on answers that a test makes up: what no real server can be made to say on time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx

from b2s_client import AsyncClient, Client, Retries

URL = "http://b2s.test"
HURRIED = Retries(base_seconds=0.01)
Handler = Callable[[httpx.Request], httpx.Response]
Call = Callable[..., Any]


def by_client(handler: Handler, method: str, *arguments: Any, **options: Any) -> Any:
    """`Client.method(…)`; a generator as a list."""
    with Client(URL, retries=HURRIED) as client:
        client._http = httpx.Client(base_url=URL, transport=httpx.MockTransport(handler))
        answer = getattr(client, method)(*arguments, **options)
        return list(answer) if method == "events" else answer


def by_async_client(handler: Handler, method: str, *arguments: Any, **options: Any) -> Any:
    """`AsyncClient.method(…)`; a generator as a list."""

    async def run() -> Any:
        async with AsyncClient(URL, retries=HURRIED) as client:
            client._http = httpx.AsyncClient(base_url=URL, transport=httpx.MockTransport(handler))
            answer = getattr(client, method)(*arguments, **options)
            return [event async for event in answer] if method == "events" else await answer

    return asyncio.run(run())


BOTH: list[Call] = [by_client, by_async_client]
