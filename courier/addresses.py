"""Where a webhook may go. A name is resolved once, every address is judged, and the one judged is the one connected to.

So a name that answers differently the second time (DNS rebinding) gains nothing, and neither do other spellings of an
address (0x7f.1, 2130706433, ::ffff:127.0.0.1): what is judged is what the resolver made of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import httpcore

from courier.lookups import Resolve

Address = IPv4Address | IPv6Address

NAT64 = ip_network("64:ff9b::/96")
"""IPv4 behind a NAT64 gateway (RFC 6052): global by its own number, whatever is inside."""


NOT_PUBLIC = [
    ip_network("168.63.129.16/32"),  # Azure's host: metadata and agents of the virtual machine, by a global address
    ip_network("192.0.0.0/24"),  # IETF protocol assignments (RFC 6890); Python counts most of it as global
    ip_network("192.88.99.0/24"),  # 6to4 relays, deprecated (RFC 7526)
    ip_network("64:ff9b:1::/48"),  # IPv4 behind a local NAT64 (RFC 8215)
    ip_network("3fff::/20"),  # documentation (RFC 9637)
    ip_network("5f00::/16"),  # segment routing (RFC 9602)
]
"""What is nobody's receiver although Python, or older versions of it, count it as global."""


class AddressRefused(Exception):
    """The receiver's name leads to an address that webhooks do not go to."""


def is_public(address: Address) -> bool:
    """Whether anybody on the internet reaches it: not private, loopback, link-local, multicast, reserved…"""
    inner = _embedded(address)
    if inner is not None:
        return is_public(inner)
    if any(address in network for network in NOT_PUBLIC):
        return False
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

    def __init__(
        self,
        private: bool,
        resolve: Resolve,
        network: httpcore.AsyncNetworkBackend | None = None,
        ports: Collection[int] | None = None,
    ) -> None:
        """`private` lets every address through: for receivers inside one's own network; `ports` None: every port."""
        self._ports = ports
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
            AddressRefused: any of the addresses is not public (one that is would be chosen by chance otherwise), or the
                port is none that webhooks go to. The text does not tell where an inside name leads.
            httpcore.ConnectError: the name is unknown, or nobody answers.
        """
        if self._ports is not None and port not in self._ports:
            raise AddressRefused(
                f"Webhooks do not go to port {port}. Use 443, or have the operator add the port to B2S_WEBHOOK_PORTS."
            )
        try:
            addresses = await self._resolve(host, port)
        except OSError as error:
            raise httpcore.ConnectError(f"the name {host} is not known: {error}") from error
        for address in addresses:
            if not self._private and not is_public(ip_address(address.partition("%")[0])):
                raise AddressRefused(
                    f"{host} leads to what is not a public address. Use a receiver on the internet, or "
                    "have the operator set B2S_WEBHOOK_PRIVATE=1 where receivers are inside the own network."
                )
        return await self._network.connect_tcp(addresses[0], port, timeout, local_address, socket_options)

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        """No receiver is a socket of this machine."""
        raise AddressRefused("A webhook goes to http:// or https:// only.")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
