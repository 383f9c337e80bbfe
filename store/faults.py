"""The one seam for fault injection: named points at which a test can have this process killed. Inert in production.

With B2S_FAULTS unset, `point` is one comparison. With B2S_FAULTS naming a folder, the first process that reaches the
point `x` while `folder/x` exists takes the file away and dies by SIGKILL, as if the power had failed there; or, if the
file says `hang`, never comes back, or, if it says `seize`, never does and lets no other thread run.
`tests/integration/test_faults.py` proves for every point that no job is lost or doubled.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path

POINTS = (
    "created",
    "rung",
    "claimed",
    "tile",
    "checkpointed",
    "stored",
    "filed",
    "finishing",
    "finished",
    "sweeping",
    "purged",
    "drawing",
    "drawn",
)
_FOLDER = os.environ.get("B2S_FAULTS")


def point(name: str) -> None:
    """Die or hang here if a test asked for it."""
    if _FOLDER is None:
        return
    file = Path(_FOLDER) / name
    try:
        wanted = file.read_text()
        file.unlink()
    except FileNotFoundError:
        return
    while wanted == "hang":
        time.sleep(1)
    while wanted == "seize":
        ctypes.PyDLL(None).pause()  # with the interpreter's lock held, as native code may
    os.kill(os.getpid(), signal.SIGKILL)
