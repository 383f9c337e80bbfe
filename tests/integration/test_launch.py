"""`make run` from its front door: it starts, answers with the line it prints, and leaves nothing behind."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from launch.supervisor import HERE, greeting
from tests.harness import strangers
from tests.harness.cluster import PATIENCE_SECONDS, ROOT
from tests.harness.ports import free_port

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


@pytest.fixture(scope="module")
def running() -> Iterator[Path]:
    """A service over a data folder of an earlier version, in a folder that every user may look into: gives that one."""
    with tempfile.TemporaryDirectory(prefix="b2s-open-") as name:
        folder = Path(name)
        for path in (folder, folder / "data", folder / "data" / "blobs"):
            path.mkdir(exist_ok=True)
            path.chmod(0o755)
        with _launched(folder, B2S_SWEEP_SECONDS="1", TMPDIR=name, XDG_RUNTIME_DIR="") as (process, log):
            _await_text(process, log, "Stop      Ctrl-C")
            yield folder
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_SECONDS) == 0


def test_nobody_else_may_look_into_what_it_keeps(running: Path) -> None:
    data = running / "data"
    assert _denoised(running)["state"] == "succeeded"
    made = [data, *data.rglob("*"), *running.glob("b2s-*"), *running.glob("b2s-*/*")]
    assert {"b2s.sqlite3", "redis.sock", "input", "result.png"} <= {path.name for path in made}
    assert [path for path in made if stat.S_IMODE(path.lstat().st_mode) & 0o077] == []


def test_another_user_of_the_machine_is_kept_out(running: Path) -> None:
    strangers.needs_root()
    (sock,) = running.glob("b2s-*/redis.sock")
    assert "data" in strangers.as_stranger(strangers.listing(running))
    assert strangers.as_stranger(strangers.listing(running / "data")) == "PermissionError"
    assert strangers.as_stranger(strangers.connecting(sock)) == "PermissionError"


def test_a_second_worker_joins_by_the_line_that_is_printed(running: Path) -> None:
    """It does a job while all processes of the first one stand still."""
    join = _printed(running, "Join")
    first = [
        pid for pid, command in _processes_of(running) if "-m worker denoise" in command or "spawn_main" in command
    ]
    assert len(first) >= 2
    log = running / "second.log"
    with log.open("wb") as out:
        second = subprocess.Popen(["sh", "-c", f"exec env {join}"], cwd=ROOT, stdout=out, stderr=out)
    try:
        _await_text(second, log, "child_ready")
        for pid in first:
            os.kill(pid, signal.SIGSTOP)
        job = _denoised(running)
        assert job["state"] == "succeeded"
        _await_text(second, log, job["id"])  # a worker logs the end of a job after the caller has its answer
    finally:
        for pid in first:
            os.kill(pid, signal.SIGCONT)
        second.terminate()
        second.wait(PATIENCE_SECONDS)


def _denoised(folder: Path) -> dict[str, Any]:
    """The job of an image that the service was sent."""
    image = (ROOT / "examples" / "noisy.png").read_bytes()
    url = f"{_printed(folder, 'Ready')}/denoise?wait=120"
    job: dict[str, Any] = httpx.post(url, files={"image": image}, timeout=PATIENCE_SECONDS).json()
    return job


def _printed(folder: Path, name: str) -> str:
    """What the greeting says after a name."""
    line = next(line for line in (folder / "launch.log").read_text().splitlines() if line.startswith(f"  {name} "))
    return line.removeprefix(f"  {name}").strip()


def test_the_end_of_one_process_ends_all(tmp_path: Path) -> None:
    with _launched(tmp_path) as (process, log):
        _await_text(process, log, "Stop      Ctrl-C")
        gateway = next(pid for pid, command in _processes_of(tmp_path) if "-m service" in command)
        assert Path(f"/proc/{gateway}/fd/1").readlink() == log.resolve()  # lines are relayed to a terminal only
        os.kill(gateway, signal.SIGKILL)
        assert process.wait(PATIENCE_SECONDS) != 0
    assert _processes_of(tmp_path) == []


@pytest.mark.parametrize("told", [True, False], ids=["by a signal", "by a closed pipe"])
def test_it_ends_at_once_while_it_starts(tmp_path: Path, told: bool) -> None:
    """The pipe as of `make run | head`: a service that its terminal cannot end would be left behind."""
    command, environment = [sys.executable, "-m", "launch"], _environment(tmp_path)
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None and b"started" in process.stdout.readline()
            if told:
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=PATIENCE_SECONDS)
            process.stdout.close()
            assert process.wait(PATIENCE_SECONDS) == 0
            assert _processes_of(tmp_path) == []
        finally:
            for pid, _ in _processes_of(tmp_path):
                os.kill(pid, signal.SIGKILL)


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
def _launched(tmp_path: Path, **variables: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    log = tmp_path / "launch.log"
    command = [sys.executable, "-m", "launch"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, env=_environment(tmp_path, **variables), stdout=out, stderr=out, start_new_session=True
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
