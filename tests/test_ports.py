"""No two test processes are given one port."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = "from tests.harness.ports import free_port; print(*(free_port() for _ in range(50)))"


def test_simultaneous_processes_get_different_ports() -> None:
    runs = [
        subprocess.Popen([sys.executable, "-c", CODE], cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    ports = [port for run in runs for port in run.communicate()[0].split()]
    assert len(ports) == len(set(ports)) == 200
