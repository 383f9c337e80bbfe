"""What a process gives up, for good, before it reads a stranger's file.

In this order: its session and all descriptors but one, its user and capabilities, new processes and core dumps, rights
through what it might execute, being read or traced by others; then all files, ports and signals (Landlock) and all
system calls but those that compute (seccomp). Each stands where another is missing; `missing` says which are.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
from functools import cache
from pathlib import Path

from images import landlock, seccomp

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_READ, _PR_CAPBSET_DROP = 1, 4, 23, 24
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL = 38, 47, 4
_CAP_VERSION = 0x2008_0522  # _LINUX_CAPABILITY_VERSION_3
_CAP_KILL, _CAP_SETGID, _CAP_SETUID, _LAST_CAPABILITY = 5, 6, 7, 63
_NOBODY = 65534
_NOBODY_ELSE = 1 << 30  # from here on user ids are nobody's, and each helper's its own
_THREADS = 16
_DESCRIPTORS = 16
_FORBIDDEN = (resource.RLIMIT_CORE, resource.RLIMIT_MEMLOCK, resource.RLIMIT_MSGQUEUE)


def missing() -> tuple[str, ...]:
    """Names of the mechanisms that this kernel does not have, or does not let this process use."""
    lacking = {"seccomp": not seccomp.available(), "landlock": not landlock.version()}
    return tuple(name for name, is_so in lacking.items() if is_so)


def prepare() -> tuple[str, ...]:
    """What a parent does once for all that it forks; names what is `missing`. It can gain no privilege any more.

    Its own capabilities stay, without which its children could not become another user.
    """
    for capability in range(_LAST_CAPABILITY + 1):
        if _libc().prctl(_PR_CAPBSET_READ, capability, 0, 0, 0) == 1:
            _libc().prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # needs CAP_SETPCAP; without new privileges it is idle
    _may_become_nobody()
    no_new_privileges()
    set_dumpable(False)
    return missing()


def lock_down(channel: int, parent: int) -> int:
    """Give up everything but `channel`, whose new number is returned; the process ends with `parent`, which `prepare`d.

    Raises:
        OSError: what this kernel has it refused; no file may be read then.
    """
    os.setsid()
    channel = _keep_only(channel)
    os.chdir("/")
    os.environ.clear()
    alone = _become_nobody()
    lose_capabilities()
    for what in _FORBIDDEN:
        resource.setrlimit(what, (0, 0))
    if alone or not seccomp.available():  # the limit counts what the user has; threads it has to be able to start
        resource.setrlimit(resource.RLIMIT_NPROC, (_THREADS, _THREADS) if alone else (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, _DESCRIPTORS))
    no_new_privileges()
    set_dumpable(False)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # which becoming another user takes back
    if os.getppid() != parent:  # it died before that
        os._exit(1)
    if version := landlock.version():
        landlock.restrict(version)
    if seccomp.available():
        seccomp.install(seccomp.allow_list(seccomp.here(), os.getpid()))
    return channel


def no_new_privileges() -> None:
    """Nothing that this process or a child of it executes gives it a right that it does not have."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def set_dumpable(dumpable: bool) -> None:
    """Whether processes of the same user may read this one's memory, environment and descriptors, and trace it."""
    _prctl(_PR_SET_DUMPABLE, int(dumpable))


def _keep_only(channel: int) -> int:
    """Close all descriptors but one, which becomes 3; the standard three lead nowhere, so that no other becomes one."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    kept = os.dup(channel)  # 3 may be either of the two
    for standard in range(3):
        os.dup2(nowhere, standard, inheritable=False)
    os.dup2(kept, 3, inheritable=False)
    os.closerange(4, os.sysconf("SC_OPEN_MAX"))
    return 3


def lose_capabilities() -> None:
    """Be what a process of this user is that root gave nothing. Raises OSError."""
    _libc().prctl(_PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL, 0, 0, 0)
    header, none = struct.pack("=Ii", _CAP_VERSION, 0), bytes(24)
    if _libc().capset(ctypes.create_string_buffer(header), ctypes.create_string_buffer(none)) != 0:
        raise OSError(ctypes.get_errno(), f"capabilities are kept: {os.strerror(ctypes.get_errno())}")


def _become_nobody() -> bool:
    """Become a user that has nothing, where that is possible; whether no other process is its."""
    alone = _may_become_nobody() and _become(_NOBODY_ELSE + os.getpid())
    if _may_become_nobody() and not alone:
        _become(_NOBODY)
    return alone


def _become(user: int) -> bool:
    """Whether this process is that user now; a container may not know its number."""
    try:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    except OSError:
        return False
    return True


@cache
def _may_become_nobody() -> bool:
    """Whether this process may change its user, and end processes of that one."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    held = next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)
    return all(held >> capability & 1 for capability in (_CAP_KILL, _CAP_SETGID, _CAP_SETUID))


def _prctl(option: int, value: int) -> None:
    if _libc().prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}): {os.strerror(ctypes.get_errno())}")


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    return libc
