"""Every curl line of the README works as printed; only the address is the test's."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from tests.e2e.service_process import ROOT, Service

README = ROOT / "README.md"
BLOCKS = re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=[f"block {n}" for n in range(1, len(BLOCKS) + 1)])
def test_a_block_of_commands(service: Service, tmp_path: Path, block: str) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    assert "http://127.0.0.1:8000" in block
    script = block.replace("http://127.0.0.1:8000", service.url)
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout or list(tmp_path.glob("clean.*"))
    for picture in [*tmp_path.glob("clean.*"), *tmp_path.glob("report.png")]:
        Image.open(picture).verify()
