"""The client as it is installed elsewhere: a wheel in an environment that holds what it says it needs, nothing more."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

import b2s_client
from tests.harness import pictures
from tests.harness.environments import environment_with
from tests.harness.service_process import ROOT, Service

SOURCE = ROOT / "client" / "src"
PROJECT = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by pip from a copy of `client/`, with the setuptools at hand."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
    shutil.copytree(ROOT / "client", folder / "client", ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(folder / "client")], check=True, timeout=300)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment_with(tmp_path_factory.mktemp("plain"), wheel, PROJECT["dependencies"])


def run(
    command: list[str | Path], service: Service, folder: Path, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    environment = {"PATH": os.environ["PATH"], "B2S_URL": service.url, "HOME": str(folder)}
    return subprocess.run(
        command, cwd=folder, env=environment, input=stdin, capture_output=True, timeout=300, check=False
    )


def test_the_wheel_holds_every_module_and_says_what_it_is(wheel: Path) -> None:
    with ZipFile(wheel) as file:
        names = set(file.namelist())
        (metadata,) = (file.read(name).decode() for name in names if name.endswith("METADATA"))
    modules = {str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py")}
    assert modules | {"b2s_client/py.typed", "client/__init__.py", "client/__main__.py"} <= names
    assert f"Version: {b2s_client.__version__}" in metadata and "License-Expression: Apache-2.0" in metadata
    assert "Provides-Extra: arrays" in metadata and "pipx install" in metadata


def test_the_command_works_with_what_it_asks_for_alone(service: Service, installed: Path, tmp_path: Path) -> None:
    said = run([installed / "b2s", "--version"], service, tmp_path)
    assert said.stdout.decode() == f"b2s {b2s_client.__version__}\n", said.stderr
    piped = run([installed / "b2s", "denoise", "-", "-o", "-"], service, tmp_path, pictures.png(1).data)
    assert piped.returncode == 0 and piped.stdout.startswith(b"\x89PNG"), piped.stderr
    assert b"base-gray" in piped.stderr
    (tmp_path / "noisy.png").write_bytes(pictures.png(1).data)
    made = run([installed / "b2s", "denoise", "noisy.png", "-o", "clean.tif"], service, tmp_path)
    assert made.returncode == 0, made.stderr
    with Image.open(tmp_path / "clean.tif") as image:
        assert image.format == "TIFF"


def test_without_the_extra_arrays_say_what_to_install(service: Service, installed: Path, tmp_path: Path) -> None:
    (tmp_path / "noisy.png").write_bytes(pictures.png(1).data)
    code = "from b2s_client import Client\nClient().denoise('noisy.png')"
    said = run([installed / "python", "-c", code], service, tmp_path)
    assert said.returncode == 1 and b"pip install 'b2s-client[arrays]'" in said.stderr
    code = "from b2s_client import Client\nprint(Client().denoise_file('noisy.png', 'clean.png'))"
    said = run([installed / "python", "-c", code], service, tmp_path)
    assert said.returncode == 0 and len(said.stdout) < 1000, said.stderr


def test_with_the_extra_arrays_go_through(service: Service, wheel: Path, tmp_path: Path) -> None:
    needed = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["arrays"]
    binaries = environment_with(tmp_path / "arrays", wheel, needed)
    code = """
import numpy as np
from b2s_client import Client
image = np.random.default_rng(0).integers(0, 255, (40, 50), dtype=np.uint8)
clean = Client().denoise(image)
assert (clean.shape, clean.dtype) == (image.shape, image.dtype)
np.save("clean.npy", clean)
"""
    said = run([binaries / "python", "-W", "error", "-c", code], service, tmp_path)
    assert said.returncode == 0, said.stderr
    assert np.load(tmp_path / "clean.npy").shape == (40, 50)


def test_the_shell_completes(service: Service, installed: Path, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "B2S_URL": service.url}
    command = [installed / "b2s"]
    script = environment | {"_B2S_COMPLETE": "source_bash"}
    said = subprocess.run(command, env=script, capture_output=True, text=True, check=False)
    assert said.returncode == 0 and "_B2S_COMPLETE" in said.stdout
    asked = {"_B2S_COMPLETE": "complete_bash", "COMP_WORDS": "b2s denoise --model base-g", "COMP_CWORD": "3"}
    offered = subprocess.run(command, env=environment | asked, capture_output=True, text=True, check=False)
    assert "base-gray" in offered.stdout.split(), offered


@pytest.mark.parametrize("language", ["sh", "python"])
def test_the_readme_works_as_printed(service: Service, installed: Path, tmp_path: Path, language: str) -> None:
    (block,) = re.findall(rf"```{language}\n(.*?)```", (ROOT / "client" / "README.md").read_text(), re.DOTALL)
    (tmp_path / "scans").mkdir()
    for place in ("noisy.png", "scans/a.png"):
        (tmp_path / place).write_bytes(pictures.png(1).data)
    if language == "sh":
        script = f'PATH="{installed}:$PATH"\n{block}'.replace(" --strict", "")  # what is warned of is not told here
        assert "job_…" in script
        script = script.replace("job_…", r"$(b2s jobs --json | sed -n '1s/.*\(job_[0-9a-z]*\).*/\1/p')")
        said = run(["bash", "-euo", "pipefail", "-c", script], service, tmp_path)
    else:
        said = run(
            [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(SOURCE)!r})\n{block}"], service, tmp_path
        )
    assert said.returncode == 0 and b"base-gray" in said.stdout, said.stderr
