"""`python tools/install.py LOCK [--torch auto|cpu|cuda]`: install a lock file into this environment, with progress.

In two steps: first what the lock names, each file held to a hash of it, and nothing else; then torch, of which every
index has builds of its own, and what this platform needs beside that (the lock is made on one).

Run by `make install` with the environment's own Python, before any package is there: standard library only. The CPU
build of torch (0.2 GB instead of 3) lies on an index of its own, which is added where no NVIDIA card is found. Whether
that index answers is asked first, within a few seconds: pip would wait for it for minutes.
"""

from __future__ import annotations

import argparse
import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import IO

TORCH_LOCK = "requirements-torch.lock"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PROBE_SECONDS = 6.0
PIP_BOUNDS = {"PIP_DEFAULT_TIMEOUT": "15", "PIP_RETRIES": "3"}
"""An index that is out of reach ends in a minute, not in five; what the environment says of them wins."""

QUIET_LINE_SECONDS = 15.0
"""Without a terminal a line is printed this often."""

DRIVER = (Path("/dev/nvidia0"), Path("/dev/dxg"))  # Linux, and WSL's
PCI = Path("/sys/bus/pci/devices")
NVIDIA, DISPLAY = "0x10de", "0x03"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lock", type=Path)
    parser.add_argument("--torch", choices=("auto", "cpu", "cuda"), default="auto")
    options = parser.parse_args()
    torch = options.lock.with_name(TORCH_LOCK)
    cpu_build = torch.exists() and not _installed("torch") and _wants_cpu_build(options.torch)
    pins = Path(sys.prefix) / "pins.txt"
    pins.write_text(without_hashes(options.lock.read_text(encoding="utf-8")), encoding="utf-8")
    more = ("--extra-index-url", CPU_INDEX) if cpu_build else ()
    rest = ("-r", str(torch)) if torch.exists() else ()
    return install(options.lock, "--no-deps", "--require-hashes") or install(pins, *rest, *more)


def without_hashes(lock: str) -> str:
    """A lock without its hashes: beside one hash, pip wants one of everything."""
    return re.sub(r" *\\\n +--hash=\S+", "", lock)


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _wants_cpu_build(torch: str) -> bool:
    """Whether to add the CPU index; says why, and what to do if that is wrong."""
    if torch == "cuda" or not sys.platform.startswith("linux"):
        return False  # elsewhere the ordinary index has small builds only
    if torch == "auto":
        if any(device.exists() for device in DRIVER):
            print("torch: an NVIDIA card is there, so the CUDA build is installed (3 GB; TORCH=cpu: the small one)")
            return False
        if _has_card():
            print(
                "torch: there is an NVIDIA card, but no driver for it, so the CPU build is installed. To use the card,"
            )
            print("       install its driver, then `make clean run`")
        else:
            print("torch: no NVIDIA card is there, so the small CPU build is installed (TORCH=cuda: the other one)")
    if answers(CPU_INDEX):
        return True
    print(f"torch: {CPU_INDEX} does not answer, so whatever build your own package index has is installed")
    return False


def _has_card() -> bool:
    """Whether the PCI bus has a display controller of NVIDIA's."""
    return any(
        _read(device / "vendor") == NVIDIA and _read(device / "class").startswith(DISPLAY) for device in PCI.glob("*")
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def answers(url: str, seconds: float = PROBE_SECONDS) -> bool:
    """Whether a URL answers in time. Asked by a process of its own, since the lookup of a name has no bound."""
    code = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=float(sys.argv[2]))"
    command = [sys.executable, "-c", code, f"{url}/torch/", str(seconds)]
    try:
        return subprocess.run(command, timeout=seconds, capture_output=True, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def install(lock: Path, *more: str) -> int:
    """Run pip and print where it is; its exit status. What it says is added to `install.log` of the environment."""
    command = [sys.executable, "-m", "pip", "install", "--no-input", "--progress-bar", "off", *more, "-r", str(lock)]
    packages = len(re.findall(r"^[\w.-]+(?:\[[^\]]*\])?==", lock.read_text(encoding="utf-8"), re.MULTILINE))
    begin, said = time.monotonic(), []
    with subprocess.Popen(
        command,
        env=PIP_BOUNDS | os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as pip:
        assert pip.stdout is not None
        screen, step = Screen(sys.stdout), "asking for packages"
        collected = 0
        for line in lines(pip.stdout):
            if line is not None:
                said.append(line)
                collected += line.startswith(("Collecting ", "Processing "))
                step = describe(line, collected, max(packages, collected)) or step
            screen.show(f"{step}, {time.monotonic() - begin:.0f} s")
        screen.end()
    log = Path(sys.prefix) / "install.log"
    with log.open("a", encoding="utf-8") as file:
        file.writelines(said)
    if pip.returncode:
        errors = [line.rstrip() for line in said if line.startswith(("ERROR", "WARNING: Retrying"))] or said[-10:]
        print(*errors[-6:], sep="\n", file=sys.stderr)
        print(
            f"The packages could not be installed; {log} has all that pip said. If the package index is out of reach, "
            "name a mirror (PIP_INDEX_URL=https://…) and run the same command again: it goes on where it stopped.",
            file=sys.stderr,
        )
        return 1
    print(f"{lock.name}: {packages} packages are there after {time.monotonic() - begin:.0f} s")
    return 0


def describe(line: str, collected: int, packages: int) -> str | None:
    """What a line of pip's says about where it is; None: nothing."""
    if found := re.match(r"Collecting ([\w.-]+)", line):
        return f"package {collected} of {packages}: {found[1]}"
    if found := re.match(r"\s+Downloading (?:\S*/)?([\w.]+)-\S+ \(([^)]+)\)", line):
        return f"package {collected} of {packages}: {found[1]}, {found[2]}"
    if line.startswith("Installing collected packages"):
        return "unpacking them all"
    return None


def lines(stream: IO[str]) -> Iterator[str | None]:
    """Lines as they come, and None for each second without one."""
    waiting: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in stream:
            waiting.put(line)
        waiting.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = waiting.get(timeout=1.0)
        except queue.Empty:
            yield None
            continue
        if line is None:
            return
        yield line


class Screen:
    """One line that is written over on a terminal; elsewhere a line now and then."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._live = out.isatty()
        self._width = 0
        self._last = time.monotonic()

    def show(self, text: str) -> None:
        """Tell where things are."""
        if self._live:
            self._out.write("\r" + text.ljust(self._width))
            self._width = len(text)
        elif time.monotonic() - self._last >= QUIET_LINE_SECONDS:
            self._out.write(text + "\n")
            self._last = time.monotonic()
        self._out.flush()

    def end(self) -> None:
        """Clear the line."""
        if self._live:
            self._out.write("\r" + " " * self._width + "\r")
            self._out.flush()


if __name__ == "__main__":
    raise SystemExit(main())
