"""Every command and snippet of README and docs works as printed; only the address is the test's."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.harness.service_process import ROOT, Service

TEXTS = [path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))]
PRINTED_URL = "http://127.0.0.1:8000"


def blocks(language: str) -> list[str]:
    return [block for text in TEXTS for block in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that looks like a checkout to the commands, and takes what they write."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "b2s").symlink_to(ROOT / "b2s")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


def run(command: list[str], service: Service, folder: Path) -> str:
    installed = f"{ROOT}{os.pathsep}{ROOT}/client/src"
    environment = {"PATH": os.environ["PATH"], "B2S_URL": service.url, "PYTHONPATH": installed}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    for picture in [*folder.glob("clean*"), *folder.glob("clean/*"), *folder.glob("report.png")]:
        if picture.is_file():
            with Image.open(picture) as image:
                image.verify()
    return done.stdout


@pytest.mark.parametrize("block", blocks("sh"))
def test_shell(service: Service, checkout: Path, block: str) -> None:
    script = block.replace(PRINTED_URL, service.url)
    assert run(["bash", "-euo", "pipefail", "-c", script], service, checkout) or list(checkout.glob("clean*"))


@pytest.mark.parametrize("block", blocks("python"))
def test_python(service: Service, checkout: Path, block: str) -> None:
    assert "base-" in run([sys.executable, "-c", block.replace(PRINTED_URL, service.url)], service, checkout)


def test_there_is_something_to_run() -> None:
    assert len(blocks("sh")) >= 6 and len(blocks("python")) >= 2
