"""honcho with our Procfile: one line a process, output in one stream, all end when one ends or a signal comes."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from honcho import manager as honcho
from honcho.environ import parse_procfile
from honcho.printer import Printer

from launch.direct import DirectProcess
from store.settings import Settings

HERE = Path(__file__).parent.parent
SIGNALED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
AFTER_GRACE_SECONDS = 15  # a tile may still be computed when the grace time ends


def supervise(settings: Settings, redis_url: str) -> int:
    """Run the Procfile until a signal comes or a process ends; the exit status."""
    on_terminal = sys.stdout.isatty()
    manager = honcho.Manager(Printer(sys.stdout, colour=on_terminal, prefix=on_terminal))
    if not on_terminal:
        manager._process_ctor = DirectProcess  # there are no prefixes to write, so nothing to relay
    honcho.KILL_WAIT = settings.shutdown_seconds + AFTER_GRACE_SECONDS
    environment = _environment(settings, redis_url, on_terminal)
    for name, command in parse_procfile((HERE / "Procfile").read_text()).processes.items():
        manager.add_process(name, command, env=environment, cwd=str(HERE))
    # A closed terminal ends the service as Ctrl-C does; honcho itself listens to SIGINT and SIGTERM only.
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    threading.Thread(target=_greet, args=(settings,), daemon=True).start()
    manager.loop()
    return 0 if manager.returncode in SIGNALED else int(manager.returncode or 0)


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


def _greet(settings: Settings) -> None:
    """Say where the service is, once it answers."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # nosec B104
    address = f"http://{host}:{settings.port}"
    while not _answers(f"{address}/livez"):
        time.sleep(0.1)
    print(greeting(address), flush=True)


def greeting(address: str) -> str:
    """What a person sees when the service is up: where it is, and one line that works as printed."""
    asks = "-H 'Prefer: wait=60' -H 'Accept: image/*' -F image=@examples/noisy.png"
    curl = f"curl -fsS {asks} -o clean.png {address}/denoise"
    return f"\n  Ready     {address}\n  Docs      {address}/docs\n  Try it    {curl}\n  Stop      Ctrl-C\n"


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2.0):  # nosec B310  # our own address
            return True
    except (urllib.error.URLError, OSError):
        return False
