"""The house keeps its arrows: who may import whom, read from the syntax trees of all modules."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "service": {"service", "store", "images.probe"},
    "worker": {"worker", "store", "images", "model"},
    "model": {"model"},
    "images": {"images"},
    "store": {"store"},
    "launch": {"launch", "store"},
    "ops": {"ops", "store"},
    "courier": {"courier", "store"},
    "client": {"client"},
}
"""What each room may import of this repository: a room's name stands for all of it."""


@pytest.mark.parametrize("room", ALLOWED)
def test_imports_follow_the_arrows(room: str) -> None:
    crossings = {
        f"{path.relative_to(ROOT)} imports {imported}"
        for path in sorted((ROOT / room).rglob("*.py"))
        for imported in _imports(path)
        if imported.partition(".")[0] in ALLOWED and not _allowed(imported, ALLOWED[room])
    }
    assert crossings == set()


def test_the_rule_sees_a_crossing(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("import model.noise as n\nfrom images import decode\ndef f():\n    from store.jobs import Jobs\n")
    assert sorted(_imports(module)) == ["images.decode", "model.noise", "store.jobs.Jobs"]
    assert not _allowed("images.decode", ALLOWED["service"])
    assert not _allowed("images.probes", ALLOWED["service"])
    assert _allowed("images.probe.probe", ALLOWED["service"])


@pytest.mark.parametrize(
    "module",
    [
        "service.app",
        "service.__main__",
        "worker.main",
        "worker.denoise_task",
        "worker.finetune_task",
        "launch.__main__",
    ],
)
def test_importing_loads_no_torch_and_no_decoder(module: str) -> None:
    heavy = ("torch", "imagecodecs", "tifffile", "numpy")
    code = f"import sys, {module}; print(*(name for name in {heavy!r} if name in sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


@pytest.mark.parametrize("room", ALLOWED)
def test_importing_a_module_does_nothing(room: str) -> None:
    """At the top of a module stand definitions; a bare call there would be work done by an import."""
    work = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / room).rglob("*.py"))
        if "migrations" not in path.parts
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ]
    assert work == []


def _imports(path: Path) -> Iterator[str]:
    """Every imported name, dotted, wherever in the file it is imported."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _allowed(imported: str, allowed: set[str]) -> bool:
    return any(imported == name or imported.startswith(f"{name}.") for name in allowed)
