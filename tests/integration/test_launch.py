"""`make run` from its front door: it starts, answers with the line it prints, and leaves nothing behind."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from launch.checks import free_port
from launch.supervisor import HERE, greeting
from tests.integration.cluster import PATIENCE_SECONDS, ROOT

MARK = "B2S_TEST_MARK"
"""A variable that all processes of a test inherit and no others have."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_starts_answers_and_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    with _launched(tmp_path) as (process, log):
        _await_text(process, log, "Stop      Ctrl-C")
        printed = next(line for line in log.read_text().splitlines() if "Try it" in line)
        curl = shlex.split(printed.partition("Try it")[2])
        out = tmp_path / "clean.png"
        curl[curl.index("-o") + 1] = str(out)
        if number is signal.SIGINT:
            subprocess.run(curl, cwd=ROOT, check=True, timeout=PATIENCE_SECONDS)
            assert out.read_bytes().startswith(b"\x89PNG")
        assert len(_processes_of(tmp_path)) >= 5  # launcher, Redis, gateway, worker, pool child
        process.send_signal(number)
        assert process.wait(PATIENCE_SECONDS) == 0
    assert _processes_of(tmp_path) == []
    assert (tmp_path / "data" / "b2s.sqlite3").is_file()


def test_the_end_of_one_process_ends_all(tmp_path: Path) -> None:
    with _launched(tmp_path) as (process, log):
        _await_text(process, log, "Stop      Ctrl-C")
        gateway = next(pid for pid, command in _processes_of(tmp_path) if "-m service" in command)
        assert Path(f"/proc/{gateway}/fd/1").readlink() == log.resolve()  # lines are relayed to a terminal only
        os.kill(gateway, signal.SIGKILL)
        assert process.wait(PATIENCE_SECONDS) != 0
    assert _processes_of(tmp_path) == []


def test_a_port_in_use_is_answered_with_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert _refusal(tmp_path, PORT=str(port)) == (
            f"127.0.0.1:{port} cannot be listened on (Address already in use); "
            "stop what uses it, or set PORT to a free port.\n"
        )
        assert "B2S_METRICS_PORT" in _refusal(tmp_path, B2S_METRICS_PORT=str(port))


def test_a_folder_that_cannot_be_written_is_answered_with_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refusal = _refusal(tmp_path, B2S_DATA_DIR=str(tmp_path / "file" / "data"))
    assert "cannot be written" in refusal
    assert "set B2S_DATA_DIR" in refusal
    assert refusal.count("\n") == 1


def test_a_bad_setting_is_answered_with_its_name(tmp_path: Path) -> None:
    refusal = _refusal(tmp_path, B2S_MAX_PIXELS="lots")
    assert refusal.startswith("B2S_MAX_PIXELS=lots is not usable")
    assert refusal.count("\n") == 1


def test_the_printed_image_is_in_the_repository() -> None:
    assert "image=@examples/noisy.png" in greeting("http://x")
    assert (HERE / "examples" / "noisy.png").is_file()


def _environment(tmp_path: Path, **variables: str) -> dict[str, str]:
    ports = {"PORT": str(free_port()), "B2S_METRICS_PORT": str(free_port())}
    ports["B2S_FINETUNE_METRICS_PORT"] = str(free_port())
    kept = {name: value for name, value in os.environ.items() if not name.startswith("B2S_")}
    own = {"B2S_DATA_DIR": os.path.relpath(tmp_path / "data", ROOT), "B2S_SHUTDOWN_SECONDS": "5", MARK: str(tmp_path)}
    return kept | ports | own | variables


@contextmanager
def _launched(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    log = tmp_path / "launch.log"
    command = [sys.executable, "-m", "launch"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, env=_environment(tmp_path), stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield process, log
    finally:
        for pid, _ in _processes_of(tmp_path):  # only when the test failed
            os.kill(pid, signal.SIGKILL)
        process.wait(PATIENCE_SECONDS)


def _refusal(tmp_path: Path, **variables: str) -> str:
    run = subprocess.run(
        [sys.executable, "-m", "launch"],
        cwd=ROOT,
        env=_environment(tmp_path, **variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert (run.returncode, run.stdout) == (1, "")
    return run.stderr


def _processes_of(tmp_path: Path) -> list[tuple[int, str]]:
    """Live processes that a test started, however far down."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={tmp_path}\0".encode() in (folder / "environ").read_bytes():
                found.append((int(folder.name), (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()))
        except OSError:
            continue  # ended meanwhile
    return found


def _await_text(process: subprocess.Popen[bytes], log: Path, text: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while text not in log.read_text():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
