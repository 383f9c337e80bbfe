"""Which files to denoise, and where each result goes."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_KEPT = (
    ".png .apng .jpg .jpeg .jpe .jfif .webp .tif .tiff .btf .bmp .avif .heic .heif .hif .dcm .fits .fit .fts .npy .dng"
)
_RAW = ".nef .nrw .arw .sr2 .pef .srw .kdc .dcr .erf .mef .mos .3fr .fff .iiq .cr2 .cr3 .raf .rw2 .rwl .orf .mrw"

RESULT_OF = {suffix: suffix for suffix in _KEPT.split()} | dict.fromkeys(_RAW.split(), ".dng") | {".gif": ".png"}
"""What is taken from a folder, and what each comes back as (docs/formats.md). A file that is named itself is always
sent: the server looks at the content. Not here: `.raw`, which names headless dumps more often than cameras' files.
"""

SUFFIX_OF = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif"}


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
        return next((path for path in (self.target, self.target_of("image/png")) if path.exists()), None)

    def target_of(self, media_type: str) -> Path:
        """Where a result of this kind goes: AVIF of more than 8 bit comes back as PNG, and only the result says so."""
        deep = media_type == "image/png" and self.target.suffix.lower() == ".avif"
        return self.target.with_name(f"{self.target.name}.png") if deep else self.target


@dataclass(frozen=True)
class Plan:
    """What to do, and what in the folders is not taken: how many files of which suffix."""

    tasks: list[Task]
    left_out: Mapping[str, int]

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


def plan(inputs: Sequence[str], folder: Path, output_format: str | None) -> Plan:
    """A task for every file that `inputs` (files, folders, globs) mean; results keep a folder's structure.

    Raises:
        InputError: something is not there, or two files would have the same result.
    """
    tasks: dict[Path, Task] = {}
    left_out: set[Path] = set()
    for source, relative in _sources(inputs, folder.resolve(), left_out):
        target = folder / _renamed(relative, output_format)
        taken = tasks.get(target)
        if taken is not None and taken.source.resolve() != source.resolve():
            raise InputError(f"{taken.source} and {source} would both become {target}; denoise them into two folders.")
        tasks[target] = Task(source, target)
    made = Plan(list(tasks.values()), Counter(path.suffix.lower() or "no suffix" for path in left_out))
    if not tasks:
        said = f": {made.left_out_words}" if left_out else ""
        raise InputError(f"There is no image in what was named{said}.")
    return made


def _renamed(path: Path, output_format: str | None) -> Path:
    """With the suffix of the result; the own one stays as it is written where the format stays."""
    own = path.suffix.lower()
    suffix = SUFFIX_OF[output_format] if output_format else RESULT_OF.get(own, own)
    return path if suffix == own and not output_format else path.with_suffix(suffix)


def _sources(inputs: Sequence[str], results: Path, left_out: set[Path]) -> Iterator[tuple[Path, Path]]:
    """Every file with its path below the results folder; earlier results are never inputs. Fills `left_out`."""
    for name in inputs:
        for path in _expanded(name):
            if not path.is_dir():
                yield path, Path(path.name)
                continue
            for found in sorted(path.rglob("*")):
                if not found.is_file() or _hidden(found, path, results):
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


def _hidden(found: Path, root: Path, results: Path) -> bool:
    return results in found.resolve().parents or any(part.startswith(".") for part in found.relative_to(root).parts)
