"""`make install` on a machine that lacks something: what its message asks for is enough."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEBIAN = """#!/bin/sh
# Debian's python3 without python3-venv: `venv` ends after it has made bin/python, for want of ensurepip.
if [ "$2" = venv ] && [ ! -e python3-venv ]; then
    {python} -m venv --without-pip .venv
    echo "ensurepip is not available" >&2
    exit 1
fi
exec {python} "$@"
"""


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_what_the_message_asks_for_is_enough(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    (tmp_path / "requirements.lock").touch()
    (tmp_path / "requirements-torch.lock").touch()
    python = tmp_path / "debian-python"
    python.write_text(DEBIAN.format(python=sys.executable))
    python.chmod(0o755)
    refused = install(tmp_path, python)
    assert refused.returncode != 0 and "apt install python3-venv" in refused.stderr
    assert (tmp_path / ".venv" / "bin" / "python").exists()
    (tmp_path / "python3-venv").touch()
    again = install(tmp_path, python)
    assert again.returncode == 0, again.stderr
    (tmp_path / ".venv" / "kept").touch()
    (tmp_path / ".venv" / ".installed").unlink()
    assert install(tmp_path, python).returncode == 0
    assert (tmp_path / ".venv" / "kept").exists()  # one that works is not made anew


def install(folder: Path, python: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    command = ["make", "install", f"PYTHON={python}"]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
