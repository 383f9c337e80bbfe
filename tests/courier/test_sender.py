"""One attempt against receivers of every kind, good, bad and hostile."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address
from typing import Any

import httpcore
import pytest
from standardwebhooks import Webhook

from courier.addresses import GuardedBackend, is_public
from courier.lookups import Lookups
from courier.sender import Sender
from store.job import JobKind
from store.webhooks import Attempt, Delivery, DeliveryState
from tests.harness.ports import free_port
from tests.harness.receiver import receiving, status

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OLD_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


def delivery(url: str) -> Delivery:
    now = datetime.now(UTC)
    body = '{"type": "job.succeeded", "data": {"id": "job_1"}}'
    return Delivery(
        "msg_1", "acme", "job_1", JobKind.DENOISE, "job.succeeded", url, body, DeliveryState.PENDING, 1, 1, now, None,
        None, now, None,
    )  # fmt: skip


def send(url: str, private: bool = True, seconds: float = 30.0, **backend: Any) -> Attempt:
    network = GuardedBackend(private, **{"resolve": Lookups().of("acme"), **backend})
    sender = Sender(lambda _: network, total_seconds=seconds)
    return asyncio.run(sender.send(delivery(url), [SECRET, OLD_SECRET]))


def test_a_receiver_verifies_it_with_the_standard_library_of_webhooks() -> None:
    with receiving(status(204)) as receiver:
        attempt = send(receiver.url)
    assert (attempt.status, attempt.error) == (204, None)
    (heard,) = receiver.heard
    for secret in (SECRET, OLD_SECRET):
        assert Webhook(secret).verify(heard.body, heard.headers)["data"]["id"] == "job_1"
    assert heard.headers["webhook-id"] == "msg_1"
    assert heard.headers["host"] == f"127.0.0.1:{receiver.port}"
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(SECRET).verify(heard.body + b" ", heard.headers)


def test_a_receiver_that_is_down() -> None:
    attempt = send(f"http://127.0.0.1:{free_port()}/hook")
    assert attempt.status is None and not attempt.final
    assert "cannot be reached" in str(attempt.error)


def test_a_receiver_that_never_answers_is_left() -> None:
    release = threading.Event()
    with receiving(lambda _: release.wait(60) and None) as receiver:
        attempt = send(receiver.url, seconds=0.5)
        release.set()
    assert attempt.status is None and not attempt.final
    assert "within 0.5 s" in str(attempt.error)


def test_a_receiver_that_dribbles_does_not_reset_the_clock() -> None:
    left = threading.Event()

    def dribble(handler: BaseHTTPRequestHandler) -> None:
        with contextlib.suppress(OSError):
            for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 600:
                handler.wfile.write(bytes([byte]))
                if left.wait(0.1):
                    return

    with receiving(dribble) as receiver:
        attempt = send(receiver.url, seconds=0.7)
        left.set()
    assert "within 0.7 s" in str(attempt.error)


def test_a_receiver_that_wants_no_more() -> None:
    with receiving(status(410)) as receiver:
        attempt = send(receiver.url)
    assert (attempt.status, attempt.final) == (410, True)


def test_a_receiver_that_is_busy() -> None:
    with receiving(status(503, retry_after="120")) as receiver:
        attempt = send(receiver.url)
    assert (attempt.status, attempt.final, attempt.retry_after) == (503, False, 120.0)


def test_a_redirect_to_the_clouds_metadata_is_not_followed() -> None:
    asked: list[str] = []

    async def resolve(host: str, _: int) -> list[str]:
        asked.append(host)
        return [host]

    with receiving(status(307, location="http://169.254.169.254/latest/meta-data/")) as receiver:
        attempt = send(receiver.url, resolve=resolve)
    assert attempt.status == 307 and "redirects are not followed" in str(attempt.error)
    assert asked == ["127.0.0.1"] and len(receiver.heard) == 1


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "0x7f000001", "2130706433", "127.1", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]",
        "169.254.169.254", "[::ffff:169.254.169.254]", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1",
        "[fe80::1]", "[fc00::1]", "[fec0::1]", "[64:ff9b::a9fe:a9fe]", "[2002:7f00:1::]", "224.0.0.1",
        "255.255.255.255",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_is_never_connected_to(host: str) -> None:
    with receiving(status(200)) as receiver:
        attempt = send(f"http://{host}:{receiver.port}/", private=False)
    assert receiver.heard == [] and attempt.status is None
    assert attempt.final or "not known" in str(attempt.error)  # a resolver may refuse odd spellings itself
    assert "not a public address" in str(attempt.error) or "not known" in str(attempt.error)


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::"]
)
def test_public_addresses_are(address: str) -> None:
    assert is_public(ip_address(address))


class Detour(httpcore.AsyncNetworkBackend):
    """Notes the address that was to be connected to, and connects to a receiver here."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connected: list[str] = []

    async def connect_tcp(self, host: str, port: int, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        self.connected.append(host)
        return await httpcore.AnyIOBackend().connect_tcp("127.0.0.1", self.port)


class Rebinding:
    """A resolver that answers with the next list each time it is asked."""

    def __init__(self, *answers: Iterable[str]) -> None:
        self.answers = [list(answer) for answer in answers]

    async def __call__(self, _: str, __: int) -> list[str]:
        return self.answers.pop(0)


def test_the_address_that_was_judged_is_the_one_connected_to() -> None:
    rebinding = Rebinding(["93.184.216.34"], ["127.0.0.1"])
    with receiving(status(200)) as receiver:
        detour = Detour(receiver.port)
        attempt = send("http://rebind.example/hook", private=False, resolve=rebinding, network=detour)
    assert attempt.status == 200
    assert detour.connected == ["93.184.216.34"]
    assert len(rebinding.answers) == 1  # it was asked once
    assert receiver.heard[0].headers["host"] == "rebind.example"


def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    with receiving(status(200)) as receiver:
        detour = Detour(receiver.port)
        both = Rebinding(["93.184.216.34", "10.0.0.7"])
        attempt = send("http://mixed.example/hook", private=False, resolve=both, network=detour)
    assert attempt.final and "not a public" in str(attempt.error) and "10.0.0.7" not in str(attempt.error)
    assert detour.connected == [] and receiver.heard == []


def test_what_is_no_address_of_the_web_is_refused() -> None:
    for url in ("ftp://example.com/x", "unix:///run/docker.sock", "file:///etc/passwd", "http://[::1"):
        attempt = send(url, private=False)
        assert attempt.status is None and attempt.error is not None, url


@pytest.mark.parametrize("url", ["https://münchen.example/hook", "https://example.com/ü"])
def test_a_url_that_is_not_ascii_is_given_up(url: str) -> None:
    attempt = send(url)
    assert attempt.final and "the URL cannot be used" in str(attempt.error)


def test_an_error_that_nobody_expected_is_an_attempt_that_failed() -> None:
    async def resolve(_: str, __: int) -> list[str]:
        raise ZeroDivisionError("secret")

    attempt = send("https://example.com/hook", resolve=resolve)
    assert not attempt.final and attempt.error == "the delivery failed on our side; it is logged"


def test_what_is_not_http_is_an_error_and_not_a_crash() -> None:
    def babble(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"\x00\xff\r\n\r\n" * 10)

    with receiving(babble) as receiver:
        attempt = send(receiver.url)
    assert attempt.status is None and "cannot be reached" in str(attempt.error)
