"""`tools/install.py`: which build of torch, what is shown, and no waiting for an index that does not answer."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from threading import Thread
from types import ModuleType

import pytest

from tests.harness.ports import free_port
from tests.harness.scripts import script

ROOT = Path(__file__).parent.parent
NVIDIA_CARD, OTHER_CARD, NVIDIA_AUDIO = ("0x10de", "0x030200"), ("0x1002", "0x030000"), ("0x10de", "0x040300")


class Index(SimpleHTTPRequestHandler):
    """A package index: a folder for each package."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """An index that has torch."""
    (tmp_path / "index" / "torch").mkdir(parents=True)
    server = HTTPServer(("127.0.0.1", free_port()), partial(Index, directory=str(tmp_path / "index")))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", free_port())) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def install(index: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = script("tools/install.py")
    monkeypatch.setattr(module, "CPU_INDEX", index)
    return module


@pytest.mark.parametrize(
    ("torch", "driver", "devices", "wanted", "said"),
    [
        ("auto", True, [NVIDIA_CARD], False, "an NVIDIA card is there"),
        ("auto", False, [NVIDIA_CARD], True, "no driver for it"),
        ("auto", False, [OTHER_CARD, NVIDIA_AUDIO], True, "no NVIDIA card is there"),
        ("auto", False, [], True, "no NVIDIA card is there"),
        ("cpu", True, [NVIDIA_CARD], True, ""),
        ("cuda", False, [], False, ""),
    ],
)
def test_the_build_fits_the_machine(
    torch: str, driver: bool, devices: list[tuple[str, str]], wanted: bool, said: str,
    install: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for number, (vendor, kind) in enumerate(devices):
        device = tmp_path / "pci" / f"0000:0{number}:00.0"
        device.mkdir(parents=True)
        (device / "vendor").write_text(f"{vendor}\n")
        (device / "class").write_text(f"{kind}\n")
    if driver:
        (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(install, "DRIVER", (tmp_path / "nvidia0",))
    monkeypatch.setattr(install, "PCI", tmp_path / "pci")
    assert install._wants_cpu_build(torch) is wanted
    assert said in capsys.readouterr().out


def test_an_index_that_does_not_answer_is_left_out(
    silent: str, install: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(install, "CPU_INDEX", silent)
    monkeypatch.setattr(install, "PROBE_SECONDS", 0.5)
    assert not install._wants_cpu_build("cpu")
    assert f"{silent} does not answer" in capsys.readouterr().out
    assert not install.answers("http://127.0.0.1:9", 5.0)  # nobody listens


def test_a_lock_file_is_installed_or_refused_with_the_remedy(tmp_path: Path) -> None:
    one, two = (_write_wheel(tmp_path, name) for name in ("one", "two"))
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    done = _install(
        tmp_path, f"one==1.0 \\\n    --hash=sha256:{one}\n    # via two\ntwo==1.0 \\\n    --hash=sha256:{two}\n"
    )
    assert done.returncode == 0, done.stderr
    assert "2 packages are there" in done.stdout
    assert "Successfully installed one-1.0 two-1.0" in (tmp_path / "venv" / "install.log").read_text()
    refused = _install(tmp_path, f"three==1.0 \\\n    --hash=sha256:{one}\n")
    assert refused.returncode == 1
    assert "No matching distribution found for three" in refused.stderr and "PIP_INDEX_URL" in refused.stderr


def test_a_file_that_is_not_the_locked_one_is_not_installed(tmp_path: Path) -> None:
    one = _write_wheel(tmp_path, "one")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    (tmp_path / "requirements-torch.lock").write_text("two==1.0\n")
    lock = f"one==1.0 \\\n    --hash=sha256:{one}\n"
    _write_wheel(tmp_path, "two", needs="one")
    done = _install(tmp_path, lock)  # the second step brings what has no hash
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / "one-1.0-py3-none-any.whl", "a") as wheel:
        wheel.writestr("one.py", "print('not what was locked')")
    subprocess.run([tmp_path / "venv" / "bin" / "python", "-m", "pip", "uninstall", "-qy", "one"], check=True)
    refused = _install(tmp_path, lock)
    assert refused.returncode == 1
    assert "DO NOT MATCH THE HASHES" in refused.stderr


def test_the_lines_of_pip_say_where_it_is(install: ModuleType) -> None:
    said = "  Downloading https://index.example/torch-2.13.0%2Bcpu-cp311-cp311-manylinux_2_28_x86_64.whl (190.1 MB)\n"
    assert install.describe("Collecting torch==2.13.0 (from -r requirements.lock (line 226))\n", 80, 93) == (
        "package 80 of 93: torch"
    )
    assert install.describe(said, 80, 93) == "package 80 of 93: torch, 190.1 MB"
    assert install.describe("Installing collected packages: a, b\n", 93, 93) == "unpacking them all"
    assert install.describe("Requirement already satisfied: pip\n", 93, 93) is None


def _install(folder: Path, lock: str) -> subprocess.CompletedProcess[str]:
    """Install a lock into an environment of its own from the wheels in a folder, and from nowhere else."""
    (folder / "requirements.lock").write_text(lock)
    environment = {
        "PATH": os.environ["PATH"], "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": os.devnull,
    }  # fmt: skip
    command = [folder / "venv" / "bin" / "python", ROOT / "tools" / "install.py", folder / "requirements.lock"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


def _write_wheel(folder: Path, name: str, needs: str | None = None) -> str:
    """A package with nothing in it; the SHA-256 of its file."""
    about = f"{name}-1.0.dist-info"
    more = f"Requires-Dist: {needs}\n" if needs else ""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{more}")
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{about}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()
