"""Training images on this machine: what to upload, under which name, and the checksum that makes it resumable."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arrays import to_tiff
from .suffixes import RESULT_OF
from .types import FineTuneOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

READ_BYTES = 1 << 20
DEFAULT_MINUTES = 15.0
QUEUE_SECONDS = 3600.0
TRAINING_SUFFIXES = RESULT_OF.keys() | {".zip", ".tar", ".gz", ".tgz"}
"""What is taken from a folder; a file that is named itself is always sent."""


@dataclass(frozen=True)
class TrainingImage:
    """One image to upload."""

    name: str
    body: bytes | Path = field(repr=False)
    sha256: str


Images = str | Path | Sequence["str | Path | NDArray[Any]"]


def collect(images: Images) -> list[TrainingImage]:
    """The images of a folder (with its structure as names), of single files, or of arrays (H, W) or (H, W, C).

    Raises:
        ValueError: there is nothing, or an array is of a shape or type that is not taken.
        FileNotFoundError: something named is not there.
    """
    named = [images] if isinstance(images, str | Path) else list(images)
    found = [image for number, one in enumerate(named) for image in _of(one, number)]
    if not found:
        raise ValueError("There is no image in what was named.")
    if len({image.name for image in found}) < len(found):  # two folders may hold the same names
        found = [replace(image, name=f"{number:05d}/{image.name}") for number, image in enumerate(found)]
    return found


def set_name(images: Iterable[TrainingImage]) -> str:
    """A name that the same images always have, so that a run that was cut off finds its dataset again."""
    digest = hashlib.sha256("\n".join(sorted(f"{image.name} {image.sha256}" for image in images)).encode())
    return f"b2s {digest.hexdigest()[:32]}"


def training_seconds(options: FineTuneOptions) -> float:
    """How long to wait for a fine-tune: its minutes, and an hour in the queue."""
    return 60 * options.get("max_minutes", DEFAULT_MINUTES) + QUEUE_SECONDS


def _of(one: Any, number: int) -> Iterable[TrainingImage]:
    if not isinstance(one, str | Path):
        body = to_tiff(one)
        return [TrainingImage(f"array-{number:05d}.tif", body, hashlib.sha256(body).hexdigest())]
    path = Path(one)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and _wanted(file, path))
        return [TrainingImage(file.relative_to(path).as_posix(), file, _sha256(file)) for file in files]
    if not path.is_file():
        raise FileNotFoundError(f"There is no file or folder {path}.")
    return [TrainingImage(path.name, path, _sha256(path))]


def _wanted(file: Path, root: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(root).parts)
    return file.suffix.lower() in TRAINING_SUFFIXES and not hidden


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
