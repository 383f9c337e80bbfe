"""How many connections a gateway holds: in all, and from one address; and who goes when there are too many.

A connection costs a file descriptor, and an upload one more. Without a bound of its own a process ends at the system's
(EMFILE), and then answers nobody. What waits longest for its request head to be complete makes room for who comes: a
client that holds connections and says nothing loses them, and everybody else's requests go on.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Protocol

import structlog

FILES_A_CONNECTION = 2
FILES_OF_OUR_OWN = 256
"""Database, Redis, blob store, logs."""

MOST = 20_000
NEARLY_FULL = 0.75
LOG_EVERY = 1_000

log = structlog.get_logger(__name__)


class Connection(Protocol):
    """What is counted."""

    def give_up(self) -> None:
        """Close it."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Most connections in all and from one address; those of `trusted` networks (proxies) count in all only."""

    most: int
    most_an_address: int
    trusted: Collection[str] = ()


class Connections:
    """The connections of one gateway process. Used from its event loop only."""

    def __init__(self, limits: ConnectionLimits, on_refusal: Callable[[], None] = lambda: None) -> None:
        self._limits = limits
        self._trusted = [ip_network(name, strict=False) for name in limits.trusted]
        self._on_refusal = on_refusal
        self._held: dict[Connection, str] = {}
        self._of: Counter[str] = Counter()
        self._waiting: dict[Connection, str] = {}  # for the rest of a head, the longest first
        self.refused = 0

    @property
    def nearly_full(self) -> bool:
        """Whether it is time to be less patient."""
        return len(self._held) > NEARLY_FULL * self._limits.most

    def enter(self, connection: Connection, address: str) -> None:
        """Count a new connection; if it is one too many, the one that waits longest goes, which may be this one."""
        self._held[connection] = self._waiting[connection] = address
        self._of[address] += 1
        if self._of[address] > self._limits.most_an_address and not self._is_trusted(address):
            self._make_room(address)
        elif len(self._held) > self._limits.most:
            self._make_room(None)

    def leave(self, connection: Connection) -> None:
        """Forget a connection; again changes nothing."""
        address = self._held.pop(connection, None)
        self._waiting.pop(connection, None)
        if address is not None:
            self._of[address] -= 1
            if not self._of[address]:
                del self._of[address]

    def waits(self, connection: Connection) -> None:
        """A head is awaited on it, from now on."""
        if connection in self._held:
            self._waiting.setdefault(connection, self._held[connection])

    def works(self, connection: Connection) -> None:
        """Its head is complete: it is not one that goes."""
        self._waiting.pop(connection, None)

    def _make_room(self, address: str | None) -> None:
        goes = next(held for held, at in self._waiting.items() if address in (None, at))
        self.leave(goes)
        goes.give_up()
        self.refused += 1
        self._on_refusal()
        if self.refused % LOG_EVERY == 1:
            log.warning(
                "connection_refused", refused=self.refused, open=len(self._held), address=address,
                cure="B2S_MAX_CONNECTIONS and B2S_MAX_CONNECTIONS_PER_ADDRESS bound them",
            )  # fmt: skip

    def _is_trusted(self, address: str) -> bool:
        try:
            return any(ip_address(address) in network for network in self._trusted)
        except ValueError:
            return False


def raise_file_limit() -> int:
    """Let this process have as many files as the system lets it; how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return MOST * FILES_A_CONNECTION + FILES_OF_OUR_OWN if hard == resource.RLIM_INFINITY else hard


def limits_for(files: int, most: int, most_an_address: int, trusted: Collection[str]) -> ConnectionLimits:
    """The limits where so many files may be open: 0 is as many as fit, and a half of those for one address."""
    fitting = max(min((files - FILES_OF_OUR_OWN) // FILES_A_CONNECTION, MOST), 16)
    in_all = min(most, fitting) if most else fitting
    return ConnectionLimits(in_all, min(most_an_address or max(in_all // 2, 1), in_all), trusted)
