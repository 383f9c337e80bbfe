"""A Python environment that holds nothing but what a distribution says it needs, made without an index."""

from __future__ import annotations

import subprocess
import sys
import venv
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement


def environment_with(folder: Path, wheel: Path, requirements: list[str]) -> Path:
    """A venv in `folder` with `wheel` and, linked from the running Python's packages, `requirements` and theirs.

    Returns:
        Its `bin`.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / version / "site-packages"
    for name in sorted(_closure(requirements)):
        for top in {file.parts[0] for file in distribution(name).files or () if file.parts[0] != ".."}:
            if top != "__pycache__" and not (packages / top).exists():
                (packages / top).symlink_to(Path(str(distribution(name).locate_file(top))))
    command = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
    subprocess.run([*command, "--no-index", "--no-deps", str(wheel)], check=True, timeout=300)
    return folder / "bin"


def _closure(requirements: list[str]) -> set[str]:
    """Names of the distributions that `requirements` need, extras included."""
    found: set[str] = set()
    left = [Requirement(text) for text in requirements]
    done: set[str] = set()
    while left:
        requirement = left.pop()
        if str(requirement) in done:
            continue
        done.add(str(requirement))
        found.add(requirement.name)
        for text in distribution(requirement.name).requires or ():
            needed = Requirement(text)
            extras = requirement.extras or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                left.append(needed)
    return found
