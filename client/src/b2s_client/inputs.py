"""Which files to denoise, and where each result goes."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .suffixes import RESULT_OF, SUFFIX, SUFFIX_OF, OutputFormat, fitting, wanted_format

STDIO = Path("-")
"""As a source, what comes from stdin; as a target, stdout. A file of that name is written `./-`."""

FOLDER = "denoised"
"""Where results go that nobody named a place for."""


class InputError(Exception):
    """The files that were named cannot be used as named."""


@dataclass(frozen=True)
class Task:
    """One file and where its result goes."""

    source: Path
    target: Path

    @property
    def found(self) -> Path | None:
        """The result, if it is there. Results appear whole or not at all, so a file that exists is finished."""
        return next((path for path in self._possible if path.exists()), None)

    def target_of(self, media_type: str) -> Path:
        """Where a result of this kind goes: with a second suffix where the name says otherwise, which only the result
        tells (AVIF of more than 8 bit comes back as PNG, and a `.png` may hold a JPEG).
        """
        return fitting(self.target, media_type)

    @property
    def _possible(self) -> list[Path]:
        return [self.target, *(path for kind in SUFFIX if (path := self.target_of(kind)) != self.target)]


@dataclass(frozen=True)
class Plan:
    """What to do, and what in the folders is not taken: how many files of which suffix.

    `output_format` is asked of the service; `replace`: a result that is there is made again, since it was named itself.
    """

    tasks: list[Task]
    left_out: Mapping[str, int]
    output_format: OutputFormat | None = None
    replace: bool = False

    @property
    def left_out_words(self) -> str:
        """For people; empty if nothing is left out."""
        if not self.left_out:
            return ""
        return f"{sum(self.left_out.values())} left out ({', '.join(sorted(self.left_out))})"


def check_folder(result: str | Path) -> None:
    """Refuse a result that could not be written, before somebody waits for it.

    Raises:
        FileNotFoundError: its folder is not there.
    """
    folder = Path(result).parent
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder} for the result.")


def plan_for(inputs: Sequence[str], output: str | None, output_format: OutputFormat | None) -> Plan:
    """What `b2s denoise INPUTS -o OUTPUT` means.

    `-` is stdin or stdout. One file goes into the file OUTPUT, unless that is a folder or ends with `/`; a folder, a
    glob or several files go into the folder OUTPUT.

    Raises:
        InputError: what was named cannot be used so.
    """
    piped, alone = "-" in inputs, len(inputs) == 1
    if output is None:
        output = "-" if piped else f"{FOLDER}/"
    if piped and not alone:
        raise InputError("With - for stdin there is no other input.")
    if output == "-" and not (piped or (alone and Path(inputs[0]).is_file())):
        raise InputError("With -o - there is one input: a file, or - for stdin.")
    into_folder = output.endswith("/") or Path(output).is_dir()
    if piped and into_folder:
        raise InputError(f"What comes from stdin has no name: say which file in {output}, or -o - for stdout.")
    if piped or output == "-" or (alone and not into_folder and Path(inputs[0]).is_file()):
        return _one(Path(inputs[0]), Path(output), output_format)
    planned = plan(inputs, Path(output), output_format)
    sources = {task.source.resolve() for task in planned.tasks}
    if lost := next((task for task in planned.tasks if task.target.resolve() in sources), None):
        raise InputError(f"{lost.target} is an input and would be a result; name another folder with -o.")
    return planned


def plan(inputs: Sequence[str], folder: Path, output_format: OutputFormat | None) -> Plan:
    """A task for every file that `inputs` (files, folders, globs) mean; results keep a folder's structure.

    Raises:
        InputError: something is not there, two files would have the same result, or a folder would hold both.
    """
    tasks: dict[Path, Task] = {}
    left_out: set[Path] = set()
    for source, relative in _sources(inputs, folder.resolve(), left_out):
        target = folder / _renamed(relative, output_format)
        taken = tasks.get(target)
        if taken is not None and taken.source.resolve() != source.resolve():
            raise InputError(f"{taken.source} and {source} would both become {target}; denoise them into two folders.")
        tasks[target] = Task(source, target)
    made = Plan(list(tasks.values()), Counter(path.suffix.lower() or "no suffix" for path in left_out), output_format)
    if not tasks:
        said = f": {made.left_out_words}" if left_out else ""
        raise InputError(f"There is no image in what was named{said}.")
    return made


def _one(source: Path, target: Path, output_format: OutputFormat | None) -> Plan:
    """One input into one file. Raises InputError: they are one file, or the target's suffix cannot be had."""
    try:
        wanted = wanted_format(target, None if source == STDIO else source, output_format)
    except ValueError as error:
        raise InputError(str(error)) from None
    if STDIO not in (source, target) and source.resolve() == target.resolve():
        raise InputError(f"{target} is the input; name another file for the result.")
    return Plan([Task(source, target)], {}, wanted, replace=True)


def _renamed(path: Path, output_format: OutputFormat | None) -> Path:
    """With the suffix of the result; the own one stays as it is written where the format stays."""
    own = path.suffix.lower()
    suffix = SUFFIX_OF[output_format] if output_format else RESULT_OF.get(own, own)
    return path if suffix == own and not output_format else path.with_suffix(suffix)


def _sources(inputs: Sequence[str], results: Path, left_out: set[Path]) -> Iterator[tuple[Path, Path]]:
    """Every file with its path below the results folder; earlier results are never inputs. Fills `left_out`.

    Raises:
        InputError: a folder is to be read and written; nobody could tell results from inputs in it.
    """
    for name in inputs:
        for path in _expanded(name):
            if not path.is_dir():
                yield path, Path(path.name)
                continue
            if path.resolve() == results:
                raise InputError(f"{path} is the input and cannot hold the results too; name another folder with -o.")
            inside = path.resolve() in results.parents  # else the results are elsewhere, or around the input
            for found in sorted(path.rglob("*")):
                if not found.is_file() or _hidden(found, path) or (inside and results in found.resolve().parents):
                    continue
                if found.suffix.lower() in RESULT_OF:
                    yield found, found.relative_to(path)
                else:
                    left_out.add(found)


def _expanded(name: str) -> list[Path]:
    if Path(name).exists():
        return [Path(name)]
    found = sorted(map(Path, glob.glob(name, recursive=True)))  # noqa: PTH207 - Path.glob takes no absolute one
    if not found:
        raise InputError(f"There is no file, folder or match for {name}.")
    return found


def _hidden(found: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in found.relative_to(root).parts)
