"""The data folder is its user's alone, also one that an earlier version left open."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.private import private_folder
from tests.harness.ops import ROOT


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def _of_an_earlier_version(folder: Path) -> Path:
    folder.mkdir()
    (folder / "blobs").mkdir()
    (folder / "b2s.sqlite3").touch()
    return folder


def test_a_new_folder_is_closed(tmp_path: Path) -> None:
    assert private_folder(tmp_path / "data")
    assert mode(tmp_path / "data") == 0o700


def test_an_open_one_of_an_earlier_version_is_closed(tmp_path: Path) -> None:
    data = _of_an_earlier_version(tmp_path / "data")
    assert mode(data) == 0o755
    assert private_folder(data)
    assert (mode(data), mode(data / "blobs"), mode(data / "b2s.sqlite3")) == (0o700, 0o700, 0o600)


def test_a_folder_of_other_things_keeps_its_mode_and_ours_in_it_is_closed(tmp_path: Path) -> None:
    home = _of_an_earlier_version(tmp_path / "home")
    (home / "letters").mkdir()
    assert not private_folder(home)
    assert (mode(home), mode(home / "letters")) == (0o755, 0o755)
    assert (mode(home / "blobs"), mode(home / "b2s.sqlite3")) == (0o700, 0o600)


def test_what_a_link_leads_to_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "blobs").symlink_to(tmp_path / "disk")
    assert private_folder(tmp_path / "data")
    assert mode(tmp_path / "disk") == 0o755


@pytest.mark.parametrize("module", ["service", "worker", "courier", "ops", "launch"])
def test_no_process_leaves_what_it_writes_open(module: str) -> None:
    """Each sets its umask first of all; here it ends at the next step, a setting that cannot work."""
    code = f"import os, sys; from {module}.__main__ import main\nos.umask(0o022)\ntry:\n    main()\n"
    code += "except SystemExit:\n    pass\nprint(oct(os.umask(0)))"
    arguments = {"worker": ["denoise"], "ops": ["keys", "list"]}.get(module, [])
    environment = {"PATH": os.environ["PATH"], "B2S_MAX_PIXELS": "lots"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert "B2S_MAX_PIXELS" in done.stderr
    assert done.stdout.strip() == "0o77"


@pytest.mark.parametrize("program", [["store.migrate"], ["ops", "keys", "list"]])
def test_what_a_program_writes_is_closed(tmp_path: Path, program: list[str]) -> None:
    data = tmp_path / "data"
    environment = {"PATH": os.environ["PATH"], "B2S_DATA_DIR": str(data)}
    subprocess.run([sys.executable, "-m", *program], cwd=ROOT, env=environment, capture_output=True, timeout=300)
    made = [data, *data.rglob("*")]
    assert data / "b2s.sqlite3" in made
    assert [path.name for path in made if mode(path) & 0o077] == []
