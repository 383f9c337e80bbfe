"""`b2s` as it is typed, and pictures for it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.harness.service_process import ROOT


class Shell:
    """Runs `b2s` in a folder."""

    def __init__(self, url: str, folder: Path) -> None:
        self.folder = folder
        self.environment = {"PATH": os.environ["PATH"], "B2S_URL": url, "PYTHONPATH": str(ROOT / "client" / "src")}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "b2s_client", *arguments]

    def __call__(self, *arguments: str, code: int = 0) -> str:
        run = subprocess.run(
            self.command(*arguments), cwd=self.folder, env=self.environment, capture_output=True, text=True,
            timeout=900, check=False,
        )  # fmt: skip
        assert run.returncode == code, (run.returncode, run.stdout, run.stderr)
        assert "Traceback" not in run.stderr
        return run.stdout + run.stderr

    def lines(self, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
        """The objects that `--json` prints."""
        return [json.loads(line) for line in self(*arguments, "--json", code=code).splitlines()]


def write_noise(path: Path, seed: int, side: int = 48) -> None:
    """A square PNG of pure noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (side, side), dtype=np.uint8)).save(path)
