"""Landlock with nothing allowed: no path is opened, made or changed, no TCP port used, no other process signalled.

Source: Linux, Documentation/userspace-api/landlock.rst, include/uapi/linux/landlock.h. The calls have the same numbers
on all architectures.
"""

from __future__ import annotations

import ctypes
import os
import struct
from functools import cache

CREATE_RULESET = 444
_RESTRICT_SELF, _VERSION = 446, 1
_FILES = {1: 13, 2: 14, 3: 15, 5: 16}  # rights to files, by the version of the interface that came to know them
_NETWORK, _SCOPES = {4: 0b11}, {6: 0b11}  # bind and connect of TCP; abstract Unix sockets and signals


@cache
def version() -> int:
    """Which version of its interface the kernel has; 0: none, or it was not asked for when the kernel started."""
    return max(_call(CREATE_RULESET, 0, 0, _VERSION), 0)


def restrict(version: int) -> None:
    """Take from this process all that `version` rules, for good; PR_SET_NO_NEW_PRIVS has to be set. Raises OSError."""
    # struct landlock_ruleset_attr; an older kernel takes a longer one whose unknown fields are zero
    rights = (1 << max(bits for since, bits in _FILES.items() if since <= version)) - 1
    rest = [next((bits for since, bits in known.items() if since <= version), 0) for known in (_NETWORK, _SCOPES)]
    wanted = struct.pack("=QQQ", rights, *rest)
    buffer = ctypes.create_string_buffer(wanted, len(wanted))
    rules = _checked(_call(CREATE_RULESET, ctypes.addressof(buffer), len(wanted), 0))
    try:
        _checked(_call(_RESTRICT_SELF, rules, 0, 0))
    finally:
        os.close(rules)


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"no Landlock: {os.strerror(ctypes.get_errno())}")
    return result


def _call(number: int, first: int, second: int, third: int) -> int:
    return int(_libc().syscall(number, first, second, third))


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.argtypes, libc.syscall.restype = [ctypes.c_long] * 4, ctypes.c_long
    return libc
