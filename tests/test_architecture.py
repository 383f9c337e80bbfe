"""The house keeps its arrows: who may import whom, read from the syntax trees of all modules."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
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
    "b2s_client": {"b2s_client"},
    "lab": {"lab", "model", "images"},
}
"""What each room may import of this repository: a room's name stands for all of it."""

FOLDERS = {"b2s_client": ROOT / "client" / "src" / "b2s_client"}
"""Where a room lies, unless at the top. `client/__init__.py` is no room: it is an alias for scripts of others."""


@pytest.mark.parametrize("room", ALLOWED)
def test_imports_follow_the_arrows(room: str) -> None:
    crossings = {
        f"{path.relative_to(ROOT)} imports {imported}"
        for path in sorted(_folder(room).rglob("*.py"))
        for imported in _imports(path)
        if imported.partition(".")[0] in ALLOWED and not _allowed(imported, ALLOWED[room])
    }
    assert crossings == set()


def test_nothing_here_uses_the_client_by_its_former_name() -> None:
    folders = [*ALLOWED, "tests", "benchmarks", "examples", "docker", "tools"]
    users = {path for name in folders for path in _folder(name).rglob("*.py") if "client" in map(_top, _imports(path))}
    assert users <= {ROOT / "tests" / "client" / "test_former_name.py"}


def test_no_module_imports_itself_by_way_of_others() -> None:
    """A circle means that neither module can be understood first; imports for type checkers count."""
    modules = {_name(path): path for room in ALLOWED for path in _folder(room).rglob("*.py")}
    graph = {
        name: {_module(found, modules) for found in _imports(path)} - {name, None} for name, path in modules.items()
    }
    sorter = TopologicalSorter(graph)
    try:
        sorter.prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_the_model_s_folders_build_on_each_other_in_one_direction() -> None:
    """Each folder can be read behind those it imports."""
    graph: dict[str, set[str]] = {}
    for path in (ROOT / "model").rglob("*.py"):
        inside = [_folder_of(found) for found in _imports(path) if _top(found) == "model"]
        graph.setdefault(_folder_of(_name(path)), set()).update(inside)
    sorter = TopologicalSorter({folder: found - {folder, "model"} for folder, found in graph.items()})
    try:
        sorter.prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))
    assert {"noise", "arrays", "inference", "training", "finetuning"} <= graph.keys()


def _folder_of(module: str) -> str:
    """The folder of `model/` that a module, or a name in it, lies in; "model" for those at its top."""
    name = module.split(".")[1:2]
    return name[0] if name and (ROOT / "model" / name[0]).is_dir() else "model"


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
        "worker.__main__",
        "worker.tasks",
        "launch.__main__",
    ],
)
def test_importing_loads_no_torch_and_no_decoder(module: str) -> None:
    heavy = ("torch", "imagecodecs", "tifffile", "numpy")
    code = f"import sys, {module}; print(*(name for name in {heavy!r} if name in sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_the_model_opens_no_image_file_and_has_no_command_line() -> None:
    """NumPy, torch, safetensors and, for CPUs, ncnn; Pillow only where training noise is made by JPEG compression."""
    imported = {
        name.partition(".")[0]
        for path in (ROOT / "model").rglob("*.py")
        for name in _imports(path)
        if path != ROOT / "model" / "synthesis" / "noises.py" or not name.startswith("PIL.")
    }
    assert imported - sys.stdlib_module_names <= {"model", "numpy", "torch", "safetensors", "ncnn"}


@pytest.mark.parametrize("room", ALLOWED)
def test_importing_a_module_does_nothing(room: str) -> None:
    """At the top of a module stand definitions; a bare call there would be work done by an import."""
    work = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted(_folder(room).rglob("*.py"))
        if "migrations" not in path.parts
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ]
    assert work == []


def test_what_tests_share_lies_in_the_harness() -> None:
    """A test imports helpers of its own room and of the harness, a benchmark those of the harness; all are there."""
    wrong = {
        f"{path.relative_to(ROOT)} imports {imported}: helpers lie in tests/harness"
        for folder in ("tests", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        for imported in _imports(path)
        if imported.startswith("tests.") and not (_shared(imported, path) and _exists(imported))
    }
    assert wrong == set()


def _shared(imported: str, path: Path) -> bool:
    return imported.split(".")[1] in ("harness", path.parent.name if path.is_relative_to(ROOT / "tests") else "")


def _exists(imported: str) -> bool:
    """Whether a module of that name is there, or one that may hold the name."""
    place = ROOT.joinpath(*imported.split("."))
    return any(
        path.exists() for path in (place.with_suffix(".py"), place / "__init__.py", place.parent.with_suffix(".py"))
    )


def _folder(room: str) -> Path:
    return FOLDERS.get(room, ROOT / room)


def _imports(path: Path) -> Iterator[str]:
    """Every imported name, dotted, wherever in the file it is imported."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts[2:] if parts[:2] == ("client", "src") else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _module(imported: str, modules: Mapping[str, Path]) -> str | None:
    """The module of this repository that an imported name is, or lies in."""
    return next((name for name in (imported, imported.rpartition(".")[0]) if name in modules), None)


def _top(imported: str) -> str:
    return imported.partition(".")[0]


def _allowed(imported: str, allowed: set[str]) -> bool:
    return any(imported == name or imported.startswith(f"{name}.") for name in allowed)
