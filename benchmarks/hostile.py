"""A whole service under attack: `python -m benchmarks.hostile [--folder FILES]`. Loopback only, bounded loops.

Each attack runs for some seconds against `python -m launch` while honest images are posted and `/livez` is asked. It
prints how long `/livez` took (milliseconds), how many honest jobs ended as they should, and the largest resident
memory of a gateway and of a worker's processes. A folder adds files of one's own: archives go to `/finetune`, the
others to `/denoise`.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx
import typer

from tests.harness import worst
from tests.harness.images_of import noisy, png
from tests.harness.service_process import Service, running_service

EVERY_SECONDS = 0.05
CLIENTS = 8
ARCHIVES = (".zip", ".tar", ".gz", ".tgz")
Attack = Callable[[str, float], None]


def main(
    folder: Annotated[Path | None, typer.Option(help="Files of one's own to attack with.")] = None,
    seconds: Annotated[float, typer.Option(help="How long each attack lasts.")] = 15.0,
    output: Annotated[Path | None, typer.Option(help="Write the summary here.")] = None,
) -> None:
    """Run every attack, one after the other, and print what the honest saw."""
    attacks: dict[str, Attack | None] = {"none": None, "headers": _headers, "forms": _forms, "heads": _heads}
    attacks |= {"connections": _connections, "helpers": _helpers}
    for path in sorted(folder.iterdir()) if folder else []:
        attacks[path.name] = partial(_file, path)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="b2s-hostile-") as data, running_service(Path(data)) as service:
        _honest(service, 1)  # the worker has loaded its models
        for name, attack in attacks.items():
            found[name] = _under(service, attack, seconds)
            print(name, json.dumps(found[name]), flush=True)
    summary = {"load": [round(one, 1) for one in os.getloadavg()], "seconds": seconds, "attacks": found}
    if output is not None:
        output.write_text(json.dumps(summary, indent=2) + "\n")


def _under(service: Service, attack: Attack | None, seconds: float) -> dict[str, Any]:
    """What an attack does to `/livez`, to honest jobs and to memory."""
    attacker = None
    if attack is not None:
        context = multiprocessing.get_context("spawn")  # a process of its own: its work must not slow the clock
        attacker = context.Process(target=attack, args=(service.url, seconds), daemon=True)
        attacker.start()
    honest: list[bool] = []
    poster = threading.Thread(target=lambda: honest.extend(_honest(service, 4)))
    poster.start()
    took, memory = [], dict[str, int]()
    deadline = time.monotonic() + seconds
    with httpx.Client(base_url=service.url, timeout=60) as http:
        while time.monotonic() < deadline or poster.is_alive() or (attacker is not None and attacker.is_alive()):
            begin = time.perf_counter()
            assert http.get("/livez").status_code == 200
            took.append(1000 * (time.perf_counter() - begin))
            if len(took) % 10 == 1:
                _sample(service.process.pid, memory)
            time.sleep(EVERY_SECONDS)
    poster.join()
    if attacker is not None:
        attacker.join()
    took.sort()
    at = {f"p{share}": round(took[min(len(took) - 1, len(took) * share // 100)], 1) for share in (50, 99)}
    return at | {"max": round(took[-1], 1), "asked": len(took), "honest": f"{sum(honest)}/4", "mib": memory}


def _honest(service: Service, count: int) -> list[bool]:
    """Whether each of some images comes back in the end, as a client has it that tries again when it is told to."""
    ended = []
    with httpx.Client(base_url=service.url, timeout=120) as http:
        for number in range(count):
            image, deadline = png(noisy(64, 64, seed=random.randrange(10**6))), time.monotonic() + 180
            state = ""
            while state != "succeeded" and time.monotonic() < deadline:
                with suppress(httpx.TransportError):
                    answer = http.post("/denoise?wait=60", files={"image": (f"{number}.png", image)})
                    state = answer.json().get("state", "") if answer.status_code in (200, 202) else ""
            ended.append(state == "succeeded")
    return ended


# ---- attacks --------------------------------------------------------------------------------------------------------


def _crowd(seconds: float, once: Callable[[httpx.Client, int], Any], url: str) -> None:
    """Several clients that do the same again and again."""
    deadline = time.monotonic() + seconds

    def client(number: int) -> None:
        with httpx.Client(base_url=url, timeout=120) as http:
            while time.monotonic() < deadline:
                with suppress(httpx.TransportError):
                    once(http, number)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _headers(url: str, seconds: float) -> None:
    """The worst header of every format, of a size at which it costs most."""
    bodies = [make(4 * 2**20) for makers in worst.CASES.values() for make in makers]
    rng = random.Random(0)
    _crowd(seconds, lambda http, _: http.post("/denoise", files={"image": ("x", rng.choice(bodies))}), url)


def _forms(url: str, seconds: float) -> None:
    """Sets of empty files."""
    part = b'--x\r\nContent-Disposition: form-data; name="images"; filename=""\r\n\r\n\r\n'
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    _crowd(seconds, lambda http, _: http.post("/finetune", content=part * 60_000 + b"--x--\r\n", headers=form), url)


def _heads(url: str, seconds: float) -> None:
    """Parts whose headers are full of semicolons."""
    head = b"--x\r\nContent-Disposition: form-data; name=\"images\"; filename*=utf-8''a" + b"; " * 1_900
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    body = (head + b"\r\n\r\n\r\n") * 1_000
    _crowd(seconds, lambda http, _: http.post("/finetune", content=body, headers=form), url)


def _connections(url: str, seconds: float) -> None:
    """As many heads that never end as there may be."""
    parts, held = urlsplit(url), []
    for _ in range(2_000):
        with suppress(OSError):
            client = socket.create_connection((str(parts.hostname), int(parts.port or 80)), timeout=3)
            held.append(client)
            client.send(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-")
    time.sleep(seconds)
    for client in held:
        client.close()


def _helpers(url: str, seconds: float) -> None:
    """The decoders' helpers die again and again, as when memory runs out."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for pid, command in _processes():
            if "images.guest" in command:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(2.0)


def _file(path: Path, url: str, seconds: float) -> None:
    """One file, posted again and again; a fine-tune on it is canceled at once."""
    data, archive = path.read_bytes(), path.suffix in ARCHIVES

    def once(http: httpx.Client, _: int) -> None:
        if not archive:
            http.post("/denoise", files={"image": (path.name, data)})
            return
        answer = http.post("/finetune", files={"images": (path.name, data)})
        if answer.status_code == 202:
            time.sleep(2.0)
            http.delete(answer.json()["links"]["self"])

    _crowd(seconds, once, url)


# ---- memory ---------------------------------------------------------------------------------------------------------


def _processes() -> list[tuple[int, str]]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            found.append((int(folder.name), (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()))
    return found


def _sample(root: int, memory: dict[str, int]) -> None:
    """Note the largest resident memory of each role among the descendants of a process, in MiB."""
    parents: dict[int, int] = {}
    commands = dict(_processes())
    for pid in commands:
        with suppress(OSError):
            parents[pid] = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    for pid, command in commands.items():
        above = pid
        while above in parents and above != root:
            above = parents[above]
        if above != root:
            continue
        role = next((name for name in ("service", "worker", "courier", "guest", "spawn") if name in command), "")
        if role:
            with suppress(OSError):
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                memory[role] = max(memory.get(role, 0), pages * os.sysconf("SC_PAGE_SIZE") // 2**20)


if __name__ == "__main__":
    typer.run(main)
