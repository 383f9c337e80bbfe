"""`hostile_guest` in a fork server that root starts and that becomes an ordinary user once it has loaded everything.

An ordinary user could not start it where the interpreter lies in root's home.
"""

from __future__ import annotations

import os
from typing import Any

from tests.images import hostile_guest

ORDINARY = 12345  # a user id that no system knows


def become_ordinary() -> None:
    """Lose root's rights, as if an ordinary user had started this process."""
    os.setgroups([])
    os.setresgid(ORDINARY, ORDINARY, ORDINARY)
    os.setresuid(ORDINARY, ORDINARY, ORDINARY)


def __getattr__(name: str) -> Any:
    """`serve`, which the fork server looks up when it is about to fork."""
    if name != "serve":
        raise AttributeError(name)
    become_ordinary()
    return hostile_guest.serve
