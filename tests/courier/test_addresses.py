"""Addresses and ports are judged here, and never connected to."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address

import httpcore
import pytest

from courier.addresses import AddressRefused, GuardedBackend, is_public


class Nowhere(httpcore.AsyncNetworkBackend):
    """A network that must not be used."""

    async def connect_tcp(self, *_: object, **__: object) -> httpcore.AsyncNetworkStream:
        raise AssertionError("connected")


async def resolved(host: str, port: int) -> list[str]:
    return ["10.20.30.40"]


@pytest.mark.parametrize(
    "address",
    [
        "168.63.129.16", "192.0.0.1", "192.0.0.9", "192.0.0.170", "192.88.99.1", "3fff::1", "3fff:fff:ffff::1",
        "5f00::1", "64:ff9b:1::a00:1", "64:ff9b::a83f:8110", "::ffff:168.63.129.16", "2002:a83f:8110::1",
        "169.254.169.254", "100.100.100.200", "127.0.0.1", "::1", "10.0.0.1", "fd00:ec2::254", "fe80::1", "0.0.0.0",
        "::", "255.255.255.255",
    ],
)  # fmt: skip
def test_what_is_nobodys_receiver_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "168.63.129.17", "192.0.1.1", "2001:4860:4860::8888", "3ffe::1"])
def test_what_is_public_stays_so(address: str) -> None:
    assert is_public(ip_address(address))


def refusal(port: int, ports: set[int] | None) -> str:
    backend = GuardedBackend(False, resolved, Nowhere(), ports)
    with pytest.raises(AddressRefused) as refused:
        asyncio.run(backend.connect_tcp("inside.example", port))
    return str(refused.value)


def test_a_refusal_does_not_say_where_a_name_leads() -> None:
    text = refusal(443, {80, 443})
    assert "inside.example" in text and "10.20" not in text and "B2S_WEBHOOK_PRIVATE" in text


def test_a_port_is_judged_before_anything_is_asked() -> None:
    assert "port 6379" in refusal(6379, {80, 443}) and "public" in refusal(6379, None)
