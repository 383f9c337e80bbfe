"""The one seam for fault injection: named points at which a test can have this process killed. Inert in production.

With B2S_FAULTS unset, `point` is one comparison. With B2S_FAULTS naming a folder, the first process that reaches the
point `x` while `folder/x` exists takes the file away and dies by SIGKILL, as if the power had failed there.
`tests/integration/test_faults.py` proves for every point that no job is lost or doubled.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

POINTS = ("created", "rung", "claimed", "tile", "checkpointed", "stored", "finishing", "finished", "sweeping", "purged")
_FOLDER = os.environ.get("B2S_FAULTS")


def point(name: str) -> None:
    """Die here if a test asked for it."""
    if _FOLDER is None:
        return
    try:
        (Path(_FOLDER) / name).unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
