"""How a fine-tune learned, in words for its report and picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UNKNOWN = "thinning"
"""Of reports of before 2026-12-01."""


def method_words(learning: Mapping[str, Any] | None) -> str:
    """The method that was used, and against which others it won."""
    if not learning:
        return UNKNOWN
    trials = ", ".join(f"{trial['method']} {trial['score']:.2f} dB" for trial in learning.get("tried", ()))
    return f"{learning['used']}, chosen by a trial ({trials})" if trials else str(learning["used"])
