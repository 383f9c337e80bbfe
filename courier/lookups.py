"""Names to addresses, in threads of its own: the system's resolver blocks, and nothing can stop it.

A lookup that hangs keeps its thread until the resolver gives up, which may be long after its delivery has. So none
shares a pool with anything else, and a tenant's lookups that nobody waits for any more still count as under way
(`courier.loop`): names that hang take places of their own tenant, never of another.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

THREADS = 256
"""More than deliveries run at once (64), so that none waits for those of 24 tenants whose eight places all hang."""

GetAddrInfo = Callable[..., list[tuple[Any, ...]]]
Resolve = Callable[[str, int], Awaitable[list[str]]]


class Lookups:
    """The system's resolver for many tenants."""

    def __init__(self, getaddrinfo: GetAddrInfo = socket.getaddrinfo) -> None:
        self._getaddrinfo = getaddrinfo
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="lookup")
        self._abandoned: Counter[str] = Counter()
        self._guard = threading.Lock()

    def of(self, tenant: str) -> Resolve:
        """`resolve(host, port)` for a delivery of this tenant: every address of a host. It raises OSError for none."""

        async def resolve(host: str, port: int) -> list[str]:
            return await self._resolve(tenant, host, port)

        return resolve

    def abandoned(self) -> Counter[str]:
        """How many lookups of each tenant go on though their deliveries were given up."""
        with self._guard:
            return +self._abandoned

    async def _resolve(self, tenant: str, host: str, port: int) -> list[str]:
        lookup = self._pool.submit(self._getaddrinfo, host, port, type=socket.SOCK_STREAM)
        try:
            found = await asyncio.wrap_future(lookup)
        except asyncio.CancelledError:
            self._abandon(tenant, lookup)
            raise
        return [str(entry[4][0]) for entry in found]

    def _abandon(self, tenant: str, lookup: Future[Any]) -> None:
        def over(_: Future[Any]) -> None:
            with self._guard:
                self._abandoned[tenant] -= 1

        with self._guard:
            self._abandoned[tenant] += 1
        lookup.add_done_callback(over)  # at once if it has ended or never began
