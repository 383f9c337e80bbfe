"""The Redis of `make run`: reached by its user alone, through a socket, and good for nothing but a doorbell."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis, ResponseError

from launch.redis_server import REMOVED, redis_server
from launch.runtime_folder import ADDRESS_BYTES, runtime_folder
from store.broker import Broker
from store.job import JobKind
from store.settings import Settings
from tests.harness import strangers

pytestmark = pytest.mark.server


@pytest.fixture(autouse=True)
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder that everybody may look into, as /tmp; pytest's own is closed."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with tempfile.TemporaryDirectory(prefix="b2s-open-") as folder:
        Path(folder).chmod(0o777)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def _socket(url: str) -> Path:
    return Path(url.removeprefix("unix://"))


@pytest.mark.parametrize("name", REMOVED)
def test_what_could_write_load_or_fetch_is_not_known(redis: Redis, name: str) -> None:
    with pytest.raises(ResponseError, match="unknown command"):
        redis.execute_command(name)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with redis_server(tmp_path_factory.mktemp("one")) as url, Redis.from_url(url) as client:
        yield client


def test_no_port_is_open(redis: Redis) -> None:
    assert redis.info("server")["tcp_port"] == 0


def test_rings_are_heard_through_the_socket(tmp_path: Path) -> None:
    with redis_server(tmp_path) as url:
        broker = Broker(Settings(redis_url=url))
        assert broker.ring(JobKind.DENOISE, "job_1")
        assert broker.unheard(JobKind.DENOISE) == 1
        assert broker.take(JobKind.DENOISE)
        broker.close()


def test_its_user_alone_may_use_it(tmp_path: Path) -> None:
    with redis_server(tmp_path) as url:
        path = _socket(url)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.parent.exists()


def test_another_user_cannot_connect(tmp_path: Path, temporary: Path) -> None:
    strangers.needs_root()
    with redis_server(tmp_path) as url:
        path = _socket(url)
        assert strangers.as_stranger(strangers.listing(temporary)) == str([path.parent.name])
        assert strangers.as_stranger(strangers.connecting(path)) == "PermissionError"
        path.parent.chmod(0o755)
        assert strangers.as_stranger(strangers.connecting(path)) == "PermissionError"  # by the socket's own mode
        path.chmod(0o666)
        assert strangers.as_stranger(strangers.connecting(path)) == "+PONG"


def test_a_data_folder_may_lie_as_deep_as_it_likes(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 90) / ("e" * 90)
    with redis_server(deep) as url:
        assert len(os.fsencode(_socket(url))) < ADDRESS_BYTES
        assert Redis.from_url(url).ping()
    assert (deep / "redis.log").exists()


def test_a_temporary_folder_that_is_too_deep_is_not_taken(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = temporary / ("d" * 90)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with redis_server(tmp_path) as url:
        assert deep not in _socket(url).parents
        assert Redis.from_url(url).ping()


def test_the_socket_of_a_killed_one_is_in_nobodys_way(tmp_path: Path) -> None:
    with redis_server(tmp_path) as url:
        path = _socket(url)
    path.parent.mkdir(mode=0o755)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with redis_server(tmp_path) as again:
        assert again == url
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert Redis.from_url(again).ping()


def test_two_runs_over_one_folder_do_not_take_each_others_socket(tmp_path: Path) -> None:
    with redis_server(tmp_path) as first, Redis.from_url(first) as client:
        with redis_server(tmp_path) as second:
            assert second != first
            assert Redis.from_url(second).ping()
        assert client.ping()
        assert _socket(first).exists()


def test_a_folder_that_another_user_put_in_the_way_is_not_used(tmp_path: Path, temporary: Path) -> None:
    strangers.needs_root()
    with runtime_folder(tmp_path) as usual:
        pass
    usual.mkdir()
    os.chown(usual, strangers.NOBODY, strangers.NOBODY)
    with runtime_folder(tmp_path) as folder:
        assert folder != usual
        assert folder.parent == temporary
        assert (folder.stat().st_uid, stat.S_IMODE(folder.stat().st_mode)) == (0, 0o700)
    usual.rmdir()
    usual.symlink_to(tmp_path)
    with runtime_folder(tmp_path) as folder:
        assert folder != usual
    assert tmp_path.exists()
