"""`client`, as `b2s_client` was called: scripts that import it go on, and hear the new name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.harness.service_process import ROOT

OLD_SCRIPT = """
import client.types
from client import Client, JobFailed
from client.cli import app
from client.errors import JobFailed as same
import b2s_client, b2s_client.errors
assert same is JobFailed is b2s_client.JobFailed and client.types is b2s_client.types
assert b2s_client.errors.__spec__.name == "b2s_client.errors"
assert set(b2s_client.__all__) <= set(dir(client))
Client("http://127.0.0.1:9").close()
print("fine")
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "default", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_an_old_script_goes_on_and_hears_the_new_name(tmp_path: Path) -> None:
    said = run(tmp_path, "-c", OLD_SCRIPT)
    assert said.stdout == "fine\n", said.stderr
    assert said.stderr.count("DeprecationWarning") == 1 and "<string>:2" in said.stderr and "b2s_client" in said.stderr


def test_the_old_command_is_the_new_one(tmp_path: Path) -> None:
    old, new = (
        run(tmp_path, "-m", "client", "denoise", "--help"),
        run(ROOT / "client/src", "-m", "b2s_client", "--help"),
    )
    assert old.returncode == new.returncode == 0 and "--strength" in old.stdout


def test_what_is_in_neither_is_not_found(tmp_path: Path) -> None:
    assert "No module named 'b2s_client.nothing'" in run(tmp_path, "-c", "import client.nothing").stderr
