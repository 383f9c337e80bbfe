"""Checkpoints in the folder of a run: whole or absent, self-checking, resumed from the newest valid one.

A file is named `step-STEP-SHA.ckpt`, where SHA is the start of its own SHA-256: one rename makes it appear, and a torn
or rotten file is told by its name.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from model.networks.weights import write_atomic
from model.training.checkpoint import Checkpoint, from_bytes, to_bytes

NAME = re.compile(r"step-(\d{9})-([0-9a-f]{16})\.ckpt")
KEEP = 2


def _name_of(step: int, data: bytes) -> str:
    """The file name of a checkpoint's bytes."""
    return f"step-{step:09d}-{hashlib.sha256(data).hexdigest()[:16]}.ckpt"


def _is_whole(name: str, data: bytes) -> bool:
    """Whether the bytes are the ones the name was made for."""
    match = NAME.fullmatch(name)
    return bool(match) and hashlib.sha256(data).hexdigest().startswith(match[2])  # type: ignore[index]


def write(folder: Path, step: int, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint and drop all but the newest `KEEP`."""
    data = to_bytes(checkpoint)
    path = folder / _name_of(step, data)
    write_atomic(path, data)
    for old in _newest_first(folder)[KEEP:]:
        old.unlink(missing_ok=True)
    return path


def read_newest(folder: Path) -> Checkpoint | None:
    """The newest valid checkpoint of a run, None when there is none."""
    for path in _newest_first(folder):
        data = path.read_bytes()
        if _is_whole(path.name, data):
            return from_bytes(data)
    return None


def _newest_first(folder: Path) -> list[Path]:
    return sorted((p for p in folder.glob("step-*.ckpt") if NAME.fullmatch(p.name)), reverse=True)
