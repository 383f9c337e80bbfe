"""Blind2Sound: numbers only. `from model import Denoiser` is the one line a user needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.inference.denoiser import Denoiser

__all__ = ["Denoiser"]


def __getattr__(name: str) -> Any:
    # Lazy, so that `import model.report.report` in a light process does not load torch.
    if name == "Denoiser":
        from model.inference.denoiser import Denoiser

        return Denoiser
    raise AttributeError(f"module 'model' has no attribute {name!r}")
