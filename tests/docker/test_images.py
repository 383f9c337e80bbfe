"""What can be known of the images without a Docker engine: that their files are there, and their packages enough."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()
GATEWAY_ROOMS = ("service", "store", "courier", "ops")


def named(path: str) -> list[Requirement]:
    lines = (ROOT / path).read_text().splitlines()
    return [Requirement(line.removesuffix(" \\")) for line in lines if line and not line.startswith(("#", " "))]


def closure(wanted: list[Requirement]) -> set[str]:
    """Names of distributions that installing these brings along."""
    found: set[str] = set()
    todo = [(_name(one.name), one.extras) for one in wanted]
    while todo:
        name, extras = todo.pop()
        if name in found and not extras:
            continue
        found.add(name)
        for line in requires(name) or []:
            inner = Requirement(line)
            if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
                todo.append((_name(inner.name), inner.extras - {""} if _name(inner.name) not in found else set()))
    return found


def _name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported_by_the_gateway_image() -> set[str]:
    """Top-level modules that its rooms import, now or later, and those of `images` that come with `service`."""
    code = (
        "import sys, service.__main__; print(*(m.__file__ for n, m in sys.modules.items() if n.startswith('images')))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [Path(name) for name in run.stdout.split()]
    files += [path for room in GATEWAY_ROOMS for path in (ROOT / room).rglob("*.py")]
    found: set[str] = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names


def test_the_gateway_image_has_what_it_imports_and_neither_torch_nor_a_decoder() -> None:
    there = closure(named("docker/gateway.txt"))
    owners = packages_distributions()
    missing = {
        module
        for module in imported_by_the_gateway_image()
        if module in owners and not {_name(owner) for owner in owners[module]} & there
    }
    assert missing == set()
    assert not there & {"torch", "numpy", "imagecodecs", "pillow", "rawpy", "tifffile"}


def test_its_versions_are_the_locked_ones() -> None:
    everywhere = {_name(one.name): one.specifier for one in named("requirements.lock")}
    image = {_name(one.name): one.specifier for one in named("docker/gateway.lock")}
    assert image.items() <= everywhere.items()
    assert closure(named("docker/gateway.txt")) <= image.keys()


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock", "docker/gateway.lock"])
def test_every_file_that_is_installed_has_a_hash_but_torch(lock: str) -> None:
    pins = re.split(r"^(?=\w)", (ROOT / lock).read_text(), flags=re.MULTILINE)[1:]
    assert len(pins) > 50
    assert [pin for pin in pins if not re.match(r"\S+==\S+( ;[^\n]*)? \\\n    --hash=sha256:[0-9a-f]{64}\b", pin)] == []
    assert not any(pin.startswith("torch==") for pin in pins)
    (torch,) = named("requirements-torch.lock")
    assert str(torch) in (ROOT / "pyproject.toml").read_text()


def test_what_is_copied_is_there_and_let_through() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists(), source
            assert any(source == name or source.startswith(f"{name}/") for name in allowed), source


def test_no_image_runs_as_root_and_each_has_a_health_check() -> None:
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    final = [stage for stage in stages if stage.startswith("base AS")]
    base = next(stage for stage in stages if " AS base" in stage)
    assert base.rstrip().endswith("USER 10001:10001")
    assert len(final) == 2
    for stage in final:
        assert "USER" not in stage and "HEALTHCHECK" in stage
    for image in re.findall(r"^(?:FROM|ARG PYTHON_IMAGE=)\s*(\S+:\S+)", DOCKERFILE, re.MULTILINE):
        assert re.search(r":\d+\.\d+\.\d+", image), f"{image} is not pinned"


def test_the_health_check_tells_up_from_down() -> None:
    def check(url: str) -> int:
        script = ROOT / "docker" / "healthcheck.py"
        return subprocess.run([sys.executable, str(script), url], capture_output=True, check=False).returncode

    from tests.harness.ports import free_port
    from tests.harness.receiver import receiving, status

    with receiving(status(200)) as up, receiving(status(503)) as ill:
        assert check(up.url) == 0
        assert check(ill.url) == 1
    assert check(f"http://127.0.0.1:{free_port()}/") == 1
