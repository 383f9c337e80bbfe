"""The operator's commands, as they are typed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def ops(data_dir: Path, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Run `python -m ops …` over a data folder."""
    environment = {"PATH": os.environ["PATH"], "B2S_DATA_DIR": str(data_dir)}
    done = subprocess.run(
        [sys.executable, "-m", "ops", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == expect, done.stderr
    assert "Traceback" not in done.stderr
    return done
