"""Both spellings of a Redis behind a socket lead to the same one."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from redis import Redis

from launch.redis_server import listening
from launch.runtime_folder import runtime_folder
from store.broker import Broker
from store.errors import SettingsError
from store.job import JobKind
from store.redis_url import for_celery, for_redis, of_socket
from store.settings import Settings, load_settings

SPELLINGS = [
    ("unix:///run/b2s/redis.sock", "redis+socket:///run/b2s/redis.sock"),
    ("unix:///run/b2s/redis.sock?db=3", "redis+socket:///run/b2s/redis.sock?virtual_host=3"),
    ("unix://:p%40ss@/run/redis.sock?db=1", "redis+socket://:p%40ss@/run/redis.sock?virtual_host=1"),
    ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
    ("rediss://user:secret@redis:6380/2", "rediss://user:secret@redis:6380/2"),
]


@pytest.mark.parametrize(("redis", "celery"), SPELLINGS)
def test_a_setting_may_be_spelled_either_way(redis: str, celery: str) -> None:
    assert Settings(redis_url=redis).redis_url == redis
    assert for_celery(redis) == celery
    if celery != redis:
        assert Settings(redis_url=celery).redis_url == redis


@pytest.mark.server
@pytest.mark.parametrize("spelling", ["redis+socket://{}?virtual_host=2", "unix://{}?db=2", "unix://{}"])
def test_both_clients_reach_the_same_database(tmp_path: Path, spelling: str) -> None:
    with runtime_folder(tmp_path) as short:
        path = short / "a b%.s"
        url = spelling.format(quote(str(path)))
        with listening(tmp_path, Settings(redis_url=url).redis_url, ["--port", "0", "--unixsocket", str(path)]):
            broker = Broker(Settings(redis_url=url))
            assert broker.ring(JobKind.DENOISE, "job_1")  # Celery's spelling
            assert broker.unheard(JobKind.DENOISE) == 1  # redis-py's
            broker.close()
            with Redis.from_url(of_socket(path) + "?db=2") as second:
                assert second.llen(JobKind.DENOISE) == (1 if "2" in spelling else 0)


def test_a_path_with_odd_letters_is_kept() -> None:
    path = Path("/run/a b/50%/r?.sock")
    assert Redis.from_url(of_socket(path)).connection_pool.connection_kwargs["path"] == str(path)


@pytest.mark.parametrize("url", ["amqp://localhost", "localhost:6379", "unix://", "redis+socket:///", "sentinel://a"])
def test_what_is_no_redis_is_refused_at_start(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="it has to"):
        for_redis(url)
    monkeypatch.setenv("B2S_REDIS_URL", url)
    with pytest.raises(SettingsError, match="B2S_REDIS_URL"):
        load_settings()
