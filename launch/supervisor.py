"""honcho with our Procfile: one line a process, output in one stream, all end when one ends or a signal comes."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType
from typing import TextIO

from honcho import manager as honcho
from honcho.environ import parse_procfile
from honcho.printer import Printer

from launch.direct import DirectProcess
from store.settings import Settings

HERE = Path(__file__).parent.parent
SIGNALED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
START_SECONDS = 0.1  # after which a process that starts is asked again for its id
AFTER_GRACE_SECONDS = 15  # a tile may still be computed when the grace time ends


def supervise(settings: Settings, redis_url: str, own_redis: bool) -> int:
    """Run the Procfile until a signal comes or a process ends; the exit status.

    Args:
        own_redis: whether the Redis is one that nobody knows of but this run, so that its URL has to be told.
    """
    on_terminal = sys.stdout.isatty()
    output = _UntilClosed(sys.stdout)
    manager = _Manager(Printer(output, colour=on_terminal, prefix=on_terminal))
    if not on_terminal:
        manager._process_ctor = DirectProcess  # there are no prefixes to write, so nothing to relay
    honcho.KILL_WAIT = settings.shutdown_seconds + AFTER_GRACE_SECONDS
    environment = _environment(settings, redis_url, on_terminal)
    for name, command in parse_procfile((HERE / "Procfile").read_text()).processes.items():
        manager.add_process(name, command, env=environment, cwd=str(HERE))
    # A closed terminal ends the service as Ctrl-C does; honcho itself listens to SIGINT and SIGTERM only.
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    about = (settings, redis_url if own_redis else None, output)
    threading.Thread(target=_greet, args=about, daemon=True).start()
    manager.loop()
    return 0 if manager.returncode in SIGNALED else int(manager.returncode or 0)


class _Manager(honcho.Manager):  # type: ignore[misc]  # honcho is not typed
    """honcho's, told to end by a thread: a handler would print in the middle of a print, which raises.

    It may be told while its processes start; it has to know all of them to end them.
    """

    def _start(self) -> None:  # after honcho has set its own handlers
        self._pid = os.getpid()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._told)
        super()._start()

    def _told(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() == self._pid:  # not in a process that was just forked
            self.returncode = 128 + number
            threading.Thread(target=self._end, daemon=True).start()

    def _end(self) -> None:
        while not self._all_started():
            time.sleep(START_SECONDS)
        self.terminate()


class _UntilClosed:
    """Lines for whoever reads them. Once that reader is gone (`make run | head`), the service ends as by Ctrl-C."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._closed()
        except OSError:  # a full disk: the line is lost, and the service goes on
            pass
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._closed()
        except OSError:
            pass

    def _closed(self) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())  # what is still buffered goes there at exit
        os.kill(os.getpid(), signal.SIGTERM)


def _environment(settings: Settings, redis_url: str, on_terminal: bool) -> dict[str, str]:
    """The environment of the processes: ours, with the interpreter's folder first, so that `python` means this one."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {
        **os.environ,
        "PATH": path,
        "PYTHONUNBUFFERED": "1",
        "B2S_DATA_DIR": str(settings.data_dir.resolve()),
        "B2S_REDIS_URL": redis_url,
    }
    if settings.log_format == "auto" and on_terminal:
        environment["B2S_LOG_FORMAT"] = "pretty"  # the processes write to a pipe, which ends at this terminal
    return environment


def _greet(settings: Settings, redis_url: str | None, output: _UntilClosed) -> None:
    """Say where the service is, once it answers."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # nosec B104
    address = f"http://{host}:{settings.port}"
    while not _answers(f"{address}/livez"):
        time.sleep(0.1)
    print(greeting(address, redis_url and joining(settings, redis_url)), file=output, flush=True)


def joining(settings: Settings, redis_url: str) -> str:
    """The command by which a second worker of this user and machine joins, from this folder."""
    variables = {
        "B2S_DATA_DIR": str(settings.data_dir.resolve()),
        "B2S_REDIS_URL": redis_url,
        "B2S_METRICS_PORT": "0",  # the first worker has the port
    }
    spelled = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
    return " ".join([*spelled, shlex.quote(sys.executable), "-m", "worker", "denoise"])


def greeting(address: str, join: str | None = None) -> str:
    """What a person sees when the service is up: where it is, and lines that work as printed."""
    asks = "-H 'Prefer: wait=60' -H 'Accept: image/*' -F image=@examples/noisy.png"
    curl = f"curl -fsS {asks} -o clean.png {address}/denoise"
    lines = {"Ready": address, "Docs": f"{address}/docs", "Try it": curl, "Join": join, "Stop": "Ctrl-C"}
    return "\n" + "".join(f"  {name:<10}{line}\n" for name, line in lines.items() if line)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2.0):  # nosec B310  # our own address
            return True
    except (urllib.error.URLError, OSError):
        return False
