"""Connections are bounded in all and by address, and the silent ones go first."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.edge.connections import MOST, ConnectionLimits, Connections, limits_for, raise_file_limit
from store.errors import SettingsError
from tests.harness.gateway import Running, connection, running_gateway

HEAD = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n"


class Held:
    """A connection that only knows whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    def give_up(self) -> None:
        self.closed = True


def entered(connections: Connections, address: str, count: int) -> list[Held]:
    made = [Held() for _ in range(count)]
    for one in made:
        connections.enter(one, address)
    return made


def test_an_address_takes_its_share_and_no_more() -> None:
    refusals: list[int] = []
    connections = Connections(ConnectionLimits(10, 4, ("10.0.0.0/8",)), lambda: refusals.append(1))
    others = entered(connections, "192.0.2.1", 2)
    mine = entered(connections, "192.0.2.2", 9)
    assert [one.closed for one in mine] == [True] * 5 + [False] * 4 and not any(one.closed for one in others)
    proxied = entered(connections, "10.1.2.3", 4)
    assert not any(one.closed for one in proxied) and connections.refused == len(refusals) == 5
    entered(connections, "10.1.2.3", 1)  # one too many in all: the one that waits longest goes, whosever it is
    assert others[0].closed and not others[1].closed


def test_whoever_works_stays() -> None:
    connections = Connections(ConnectionLimits(3, 3))
    works, idle, fresh = entered(connections, "a", 3)
    connections.works(works)
    connections.works(idle)
    connections.waits(idle)  # answered, and silent since
    connections.works(fresh)
    (late,) = entered(connections, "b", 1)
    assert idle.closed and not works.closed and not fresh.closed and not late.closed
    connections.works(late)
    (last,) = entered(connections, "c", 1)  # nobody is silent
    assert last.closed and not late.closed
    for one in (works, fresh, late, late):
        connections.leave(one)
    assert not any(one.closed for one in entered(connections, "c", 3))


def test_limits_follow_the_files_that_there_may_be() -> None:
    assert limits_for(4096, 0, 0, ()) == ConnectionLimits(1920, 960)
    assert limits_for(1 << 20, 0, 0, ()) == ConnectionLimits(MOST, MOST // 2)
    assert limits_for(4096, 100_000, 50, ()) == ConnectionLimits(1920, 50)
    assert limits_for(10, 0, 0, ()).most == 16
    assert raise_file_limit() > 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft == hard


@pytest.fixture
def bounded(tmp_path: Path) -> Iterator[Running]:
    with running_gateway(tmp_path, max_connections=40, max_connections_per_address=40) as gateway:
        yield gateway


def test_whoever_says_nothing_makes_room(bounded: Running) -> None:
    """A hundred connections that never finish their heads, and everybody else is answered all the same."""
    with contextlib.ExitStack() as opened:
        silent = [opened.enter_context(connection(bounded)) for _ in range(100)]
        for client in silent:
            with contextlib.suppress(OSError):
                client.sendall(HEAD + b"X-Slow: ")
        for _ in range(5):
            with connection(bounded) as client:
                client.sendall(HEAD + b"Connection: close\r\n\r\n")
                assert client.recv(65536).startswith(b"HTTP/1.1 200")
        assert sum(_is_closed(client) for client in silent) >= 60
    assert "b2s_connections_refused_total" in bounded.http.get("/metrics").text


def _is_closed(client: socket.socket) -> bool:
    client.settimeout(0.2)
    try:
        return client.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_proxies_have_to_be_addresses(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="B2S_TRUSTED_PROXIES"), running_gateway(tmp_path, trusted_proxies="caddy"):
        pass
