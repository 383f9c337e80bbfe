"""A model as everybody sees it: frozen, and its weights never change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class NewModel:
    """A model that a fine-tune made. Its row appears with the job's success, in one transaction, or not at all."""

    id: str
    name: str
    channels: int
    base_model: str | None
    card: Mapping[str, Any]
    weights_key: str
    weights_bytes: int
    sha256: str


@dataclass(frozen=True)
class Model:
    """A model. `tenant` None: a base model, everybody's; its id is its name (`base-gray`)."""

    id: str
    tenant: str | None
    name: str
    channels: int
    base_model: str | None
    card: Mapping[str, Any]
    weights_key: str
    weights_bytes: int
    sha256: str
    created_at: datetime

    @property
    def frames(self) -> int:
        """Pages of a stack that it sees at once; 1: each by itself."""
        said = self.card.get("frames")
        return int(said.get("seen", 1)) if isinstance(said, Mapping) else 1

    def fits(self, channels: int) -> bool:
        """Whether it can denoise images of so many channels: a gray model takes any number, one by one."""
        return self.channels in (1, channels)
