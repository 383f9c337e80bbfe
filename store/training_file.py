"""A file of a fine-tune's set, as the gateway lists it for the worker."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TrainingFile:
    """One stored file. `pixels` is what its header says, 0 if it is an archive or no image."""

    name: str
    key: str
    bytes: int
    pixels: int
    sha256: str
    archive: bool = False
