"""What the client makes of a 429: a short wait is waited for, a long one is told at once. Against a real gateway."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import numpy as np
import pytest

from b2s_client import AsyncClient, Client, ImageRefused, LimitReached, RequestRefused, Retries
from b2s_client.arrays import to_tiff
from store.tenants import Allowance, Tenants
from tests.harness.gateway import Running, png, running_gateway
from tests.harness.shell import Shell, write_noise

PIXELS = 8 * 8


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_gateway(tmp_path_factory.mktemp("limits")) as running:
        running.services.keys.create("operator")
        running.wait_until_closed()
        yield running


def key_of(gateway: Running, tenant: str, allowance: Allowance) -> str:
    key = gateway.services.keys.create(tenant)
    Tenants(gateway.services.engine).set_allowance(tenant, allowance)
    return key


def statuses(client: Client) -> list[int]:
    """The status of every answer that this client gets from now on."""
    seen: list[int] = []
    client._http.event_hooks["response"].append(lambda response: seen.append(response.status_code))
    return seen


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Takes no more than 18 MiB."""
    with running_gateway(tmp_path_factory.mktemp("narrow"), max_upload_bytes=18 * 2**20) as running:
        yield running


def test_what_is_too_large_is_told_before_it_is_sent(narrow: Running, tmp_path: Path) -> None:
    large, small = np.zeros((4400, 4400), np.uint8), np.zeros((4200, 4200), np.uint8)
    (tmp_path / "large.tif").write_bytes(to_tiff(large))
    with Client(narrow.url) as client:
        seen: list[tuple[str, str]] = []
        client._http.event_hooks["request"].append(lambda request: seen.append((request.method, request.url.path)))
        for send in (
            lambda: client.denoise(large),
            lambda: client.submit(large),
            lambda: client.denoise_file(tmp_path / "large.tif", tmp_path / "clean.tif"),
            lambda: client.denoise_bytes(tmp_path / "large.tif", on_progress=print),
        ):
            with pytest.raises(ImageRefused, match=r"18,874,368 \(its setting B2S_MAX_UPLOAD_BYTES\)"):
                send()
        assert set(seen) == {("GET", "/usage")}
        assert client.submit(small).state == "queued"


def test_the_async_client_tells_it_too(narrow: Running) -> None:
    async def run() -> None:
        async with AsyncClient(narrow.url) as client:
            await client.denoise(np.zeros((4400, 4400), np.uint8))

    with pytest.raises(ImageRefused, match="It was not sent"):
        asyncio.run(run())


def test_a_key_that_may_not_ask_leaves_it_to_the_service(gateway: Running) -> None:
    key = gateway.services.keys.create("writer", frozenset({"denoise"}))
    with Client(gateway.url, key) as client, pytest.raises(ImageRefused) as refused:
        client.submit(np.zeros((8200, 8200), np.uint8))
    assert refused.value.request_id is not None  # the service's own words


def test_a_used_up_quota_is_raised_at_once_with_the_time_it_resets(gateway: Running) -> None:
    key = key_of(gateway, "daily", Allowance(pixels_per_day=PIXELS))
    with Client(gateway.url, key) as client:
        client.submit(png())
        seen = statuses(client)
        begin = time.monotonic()
        with pytest.raises(LimitReached) as refused:
            client.submit(png())
        assert seen == [429] and time.monotonic() - begin < 5
    midnight = (datetime.now(UTC) + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    assert refused.value.is_quota and isinstance(refused.value, RequestRefused)
    assert refused.value.retry_at is not None and abs(refused.value.retry_at - midnight) < timedelta(seconds=5)


def test_the_async_client_does_the_same(gateway: Running) -> None:
    key = key_of(gateway, "daily-async", Allowance(pixels_per_day=PIXELS))

    async def run() -> None:
        async with AsyncClient(gateway.url, key) as client:
            await client.submit(png())
            await client.submit(png())

    with pytest.raises(LimitReached) as refused:
        asyncio.run(run())
    assert refused.value.is_quota


def test_a_short_wait_is_waited_for(gateway: Running) -> None:
    key = key_of(gateway, "hasty", Allowance(requests_per_minute=20))
    with Client(gateway.url, key) as client:
        seen = statuses(client)
        while 429 not in seen:
            client.models()
            assert len(seen) < 200
        assert seen[-1] == 200


def test_b2s_stops_at_a_used_up_quota(gateway: Running, tmp_path: Path) -> None:
    key = key_of(gateway, "batch", Allowance(pixels_per_day=PIXELS))
    with Client(gateway.url, key) as client:
        client.submit(png())
    for number in range(30):
        write_noise(tmp_path / "in" / f"{number:02}.png", number)
    b2s = Shell(gateway.url, tmp_path)
    b2s.environment["B2S_API_KEY"] = key
    begin = time.monotonic()
    error = b2s.lines("denoise", "in", "-p", "2", code=4)[-1]["error"]
    assert error["type"] == "/problems/quota-exceeded" and error["resets_at"]
    assert time.monotonic() - begin < 60


@pytest.mark.parametrize(("header", "least", "most"), [("0", 0, 0), ("60", 60, 60), ("soon", 0, 0.5), ("", 0, 0.5)])
def test_what_retry_after_says_is_heeded(header: str, least: float, most: float) -> None:
    pause = Retries().pause(1, httpx.Response(429, headers={"Retry-After": header}))
    assert pause is not None and least <= pause <= most


@pytest.mark.parametrize(("ahead", "least", "most"), [(timedelta(seconds=50), 1, 50), (-timedelta(hours=1), 0, 0)])
def test_retry_after_may_be_a_date(ahead: timedelta, least: float, most: float) -> None:
    date = format_datetime(datetime.now(UTC) + ahead, usegmt=True)
    pause = Retries().pause(1, httpx.Response(429, headers={"Retry-After": date}))
    assert pause is not None and least <= pause <= most


@pytest.mark.parametrize("header", ["61", "86400", "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_a_wait_beyond_the_bound_is_not_waited_for(header: str) -> None:
    assert Retries().pause(1, httpx.Response(503, headers={"Retry-After": header})) is None
    assert Retries(longest_seconds=1e12).pause(1, httpx.Response(503, headers={"Retry-After": header})) is not None
