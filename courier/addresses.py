"""Where a webhook may go. A name is resolved once, every address is judged, and the one judged is the one connected to.

So a name that answers differently the second time (DNS rebinding) gains nothing, and neither do other spellings of an
address (0x7f.1, 2130706433, ::ffff:127.0.0.1): what is judged is what the resolver made of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import httpcore

from courier.lookups import Resolve

Address = IPv4Address | IPv6Address

NAT64 = ip_network("64:ff9b::/96")
"""IPv4 behind a NAT64 gateway (RFC 6052): global by its own number, whatever is inside."""


class AddressRefused(Exception):
    """The receiver's name leads to an address that webhooks do not go to."""


def is_public(address: Address) -> bool:
    """Whether anybody on the internet reaches it: not private, loopback, link-local, multicast, reserved…"""
    inner = _embedded(address)
    if inner is not None:
        return is_public(inner)
    if isinstance(address, IPv6Address) and address.is_site_local:
        return False  # fec0::/10: deprecated (RFC 3879), counted as global by Python, still private where it is in use
    return address.is_global and not address.is_multicast and not address.is_reserved


def _embedded(address: Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 one leads to, however it is wrapped."""
    if not isinstance(address, IPv6Address):
        return None
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    return address.teredo[1] if address.teredo is not None else None


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """httpcore's network, connecting to public addresses only. TLS still verifies the name, not the address."""

    def __init__(self, private: bool, resolve: Resolve, network: httpcore.AsyncNetworkBackend | None = None) -> None:
        """`private` lets everything through: for receivers inside one's own network."""
        self._private = private
        self._resolve = resolve
        self._network = network or httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolve once, judge, connect.

        Raises:
            AddressRefused: any of the addresses is not public. One that is would be chosen by chance otherwise.
            httpcore.ConnectError: the name is unknown, or nobody answers.
        """
        try:
            addresses = await self._resolve(host, port)
        except OSError as error:
            raise httpcore.ConnectError(f"the name {host} is not known: {error}") from error
        for address in addresses:
            if not self._private and not is_public(ip_address(address.partition("%")[0])):
                raise AddressRefused(
                    f"{host} leads to {address}, which is not a public address. Use a receiver on the internet, or "
                    "have the operator set B2S_WEBHOOK_PRIVATE=1 where receivers are inside the own network."
                )
        return await self._network.connect_tcp(addresses[0], port, timeout, local_address, socket_options)

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        """No receiver is a socket of this machine."""
        raise AddressRefused("A webhook goes to http:// or https:// only.")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
