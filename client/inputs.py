"""Which files to denoise, and where each result goes."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif"})
"""What is taken from a folder. A file that is named itself is always sent: the server looks at the content."""

SUFFIX_OF = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif"}


class InputError(Exception):
    """The files that were named cannot be used as named."""


@dataclass(frozen=True)
class Task:
    """One file and where its result goes."""

    source: Path
    target: Path

    @property
    def done(self) -> bool:
        """Whether the result is there. Results appear whole or not at all, so a file that exists is finished."""
        return self.target.exists()


def plan(inputs: Sequence[str], folder: Path, output_format: str | None) -> list[Task]:
    """A task for every file that `inputs` (files, folders, globs) mean; results keep a folder's structure.

    Raises:
        InputError: something is not there, or two files would have the same result.
    """
    tasks: dict[Path, Task] = {}
    for source, relative in _sources(inputs, folder.resolve()):
        target = folder / (relative.with_suffix(SUFFIX_OF[output_format]) if output_format else relative)
        taken = tasks.get(target)
        if taken is not None and taken.source.resolve() != source.resolve():
            raise InputError(f"{taken.source} and {source} would both become {target}; denoise them into two folders.")
        tasks[target] = Task(source, target)
    if not tasks:
        raise InputError("There is no image in what was named.")
    return list(tasks.values())


def _sources(inputs: Sequence[str], results: Path) -> Iterator[tuple[Path, Path]]:
    """Every file with its path below the results folder; earlier results are never inputs."""
    for name in inputs:
        for path in _expanded(name):
            if path.is_dir():
                for found in sorted(path.rglob("*")):
                    if found.suffix.lower() in SUFFIXES and found.is_file() and not _hidden(found, path, results):
                        yield found, found.relative_to(path)
            else:
                yield path, Path(path.name)


def _expanded(name: str) -> list[Path]:
    if Path(name).exists():
        return [Path(name)]
    found = sorted(map(Path, glob.glob(name, recursive=True)))  # noqa: PTH207 - Path.glob takes no absolute one
    if not found:
        raise InputError(f"There is no file, folder or match for {name}.")
    return found


def _hidden(found: Path, root: Path, results: Path) -> bool:
    return results in found.resolve().parents or any(part.startswith(".") for part in found.relative_to(root).parts)
