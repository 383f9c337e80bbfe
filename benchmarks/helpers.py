"""What a helper process for each file costs: `python -m benchmarks.helpers`; a small PNG, decoded in four ways in turn.

Prints milliseconds of wall time, median of `--files` rounds that take the ways in turn, so that what else the machine
does falls on all alike: in this process; by a process that stays up between files, as before December 2026 (the same
messages, nothing given up); by a helper of its own, one file after the other, and with `--pause` milliseconds between
files, as a job's network leaves them. The CPU time of fork, lock-down and end is the fork server's and its children's.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import psutil

from images import warm
from images.decode import decode_here
from images.guest import serve
from images.limits import Limits
from images.messages import Request, assemble, receive, send
from images.sandbox import Sandbox, _input_file, _output_file, _view
from tests.harness import files

LIMITS = Limits()


class Lasting:
    """A process that decodes one file after the other, without a lock-down: what there was before."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            self._channel.close()
            serve(theirs, 1 << 40)
            os._exit(0)
        theirs.close()

    def decode(self, data: bytes) -> object:
        """As `Sandbox.decode`."""
        source, size = _input_file(data)
        request = Request(size, LIMITS)
        send(self._channel, request, (source,))
        info = receive(self._channel, 1 << 30)[0].info
        target = _output_file(info.decoded_bytes)
        send(self._channel, replace(request, decoded_bytes=info.decoded_bytes), (source, target))
        made = assemble(receive(self._channel, 1 << 30)[0], lambda place: _view(target, place))
        os.close(source)
        os.close(target)
        return made

    def close(self) -> None:
        """End it."""
        self._channel.close()
        os.waitpid(self.pid, 0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--pause", type=float, default=50.0)
    chosen = parser.parse_args()
    data = files.png(files.noise((256, 256, 3)))
    warm.load()
    lasting, box = Lasting(), Sandbox()
    box.start()

    def rested() -> object:
        time.sleep(chosen.pause / 1000)
        begin[0] = time.perf_counter()
        return box.decode(data, LIMITS)

    ways: dict[str, Callable[[], object]] = {
        "here": lambda: decode_here(data),
        "a process that stays": lambda: lasting.decode(data),
        "a helper each, no pause": lambda: box.decode(data, LIMITS),
        f"a helper each, {chosen.pause:g} ms pause": rested,
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    begin, cpu = [0.0], _server_seconds(box)
    for _ in range(chosen.files):
        for name, way in ways.items():
            begin[0] = time.perf_counter()
            way()
            took[name].append(1000 * (time.perf_counter() - begin[0]))
    time.sleep(1)
    spent = 1000 * (_server_seconds(box) - cpu) / (2 * chosen.files)
    print("| way | ms, median | 90 % |\n|---|---|---|")
    for name, times in took.items():
        print(f"| {name} | {statistics.median(times):.2f} | {statistics.quantiles(times, n=10)[-1]:.2f} |")
    print(f"\nCPU time of a helper's whole life: {spent:.2f} ms")
    box.close()
    lasting.close()


def _server_seconds(box: Sandbox) -> float:
    """CPU time of the fork server and of all helpers that have ended."""
    server = box._nursery.server
    assert server is not None
    times = psutil.Process(server).cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


if __name__ == "__main__":
    main()
