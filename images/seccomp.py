"""A system call filter as an allow-list (seccomp-BPF), for x86_64 and aarch64; everything else fails with EPERM.

Sources: Linux, Documentation/userspace-api/seccomp_filter.rst, include/uapi/linux/{bpf_common,filter,seccomp}.h; the
numbers of calls from arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_KILL_PROCESS, _ERRNO, _ALLOW = 0x8000_0000, 0x0005_0000, 0x7FFF_0000
_LOAD, _RETURN = 0x20, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_RET|BPF_K
_EQUAL, _AT_LEAST, _BIT = 0x15, 0x35, 0x45  # BPF_JMP|BPF_JEQ, BPF_JGE, BPF_JSET
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_X32 = 0x4000_0000
_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter: code, jump if true, jump if false, constant


@dataclass(frozen=True, slots=True)
class Machine:
    """How one architecture counts: its audit number, and the numbers of the calls that are named here."""

    audit: int
    calls: dict[str, int]


_X86_64 = {
    "read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11,
    "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "pread64": 17, "pwrite64": 18, "readv": 19,
    "writev": 20, "sched_yield": 24, "mremap": 25, "madvise": 28, "nanosleep": 35, "getpid": 39, "sendto": 44,
    "recvfrom": 45, "sendmsg": 46, "recvmsg": 47, "clone": 56, "exit": 60, "uname": 63, "fcntl": 72, "ftruncate": 77,
    "gettimeofday": 96, "getrusage": 98, "sysinfo": 99, "getuid": 102, "getgid": 104, "geteuid": 107, "getegid": 108,
    "sigaltstack": 131, "gettid": 186, "time": 201, "futex": 202, "restart_syscall": 219, "clock_gettime": 228,
    "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231, "tgkill": 234, "ppoll": 271, "set_robust_list": 273,
    "prlimit64": 302, "getrandom": 318, "rseq": 334, "clone3": 435,
}  # fmt: skip
_AARCH64 = {
    "fcntl": 25, "ftruncate": 46, "close": 57, "lseek": 62, "read": 63, "write": 64, "readv": 65, "writev": 66,
    "pread64": 67, "pwrite64": 68, "ppoll": 73, "fstat": 80, "exit": 93, "exit_group": 94, "futex": 98,
    "set_robust_list": 99, "nanosleep": 101, "clock_gettime": 113, "clock_getres": 114, "clock_nanosleep": 115,
    "sched_yield": 124, "restart_syscall": 128, "tgkill": 131, "sigaltstack": 132, "rt_sigaction": 134,
    "rt_sigprocmask": 135, "rt_sigreturn": 139, "uname": 160, "getrusage": 165, "gettimeofday": 169, "getpid": 172,
    "getuid": 174, "geteuid": 175, "getgid": 176, "getegid": 177, "gettid": 178, "sysinfo": 179, "sendto": 206,
    "recvfrom": 207, "sendmsg": 211, "recvmsg": 212, "brk": 214, "munmap": 215, "mremap": 216, "clone": 220,
    "mmap": 222, "mprotect": 226, "madvise": 233, "prlimit64": 261, "getrandom": 278, "rseq": 293, "clone3": 435,
}  # fmt: skip
MACHINES = {"x86_64": Machine(0xC000_003E, _X86_64), "aarch64": Machine(0xC000_00B7, _AARCH64)}

_REFUSED = {"clone3": errno.ENOSYS}  # its flags lie in memory; glibc tries clone then
_CLONE_THREAD = 0x0001_0000
_FCNTL = (1, 2, 3, 1030)  # F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC: F_SETOWN would have signals sent to others


def allow_list(machine: Machine, process: int) -> bytes:
    """The filter's program: what arithmetic on memory and descriptors that are open already needs, for one process.

    No call opens, makes or names anything: no file, socket, process or memory of others. Signals and limits are its own
    `process`'s only. Threads it may have, without which libde265 decodes nothing; since cores cannot be counted, other
    libraries start none.
    """
    ours = {"tgkill": (process,), "prlimit64": (0, process), "fcntl": _FCNTL}
    argument = {"tgkill": 0, "prlimit64": 0, "fcntl": 1}
    program = [*_guards(machine)]
    for name, number in machine.calls.items():
        if name == "clone":
            program += [(_EQUAL, 0, 4, number), (_LOAD, 0, 0, _ARGUMENTS), (_BIT, 0, 1, _CLONE_THREAD)]
            program += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ERRNO | errno.EPERM)]
        elif name in ours:
            program += _only_with(number, argument[name], ours[name])
        else:
            verdict = _ERRNO | _REFUSED[name] if name in _REFUSED else _ALLOW
            program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, verdict)]
    return _assembled([*program, (_RETURN, 0, 0, _ERRNO | errno.EPERM)])


def refusing(machine: Machine, numbers: Sequence[int], error: int) -> bytes:
    """A program that lets everything through but these calls: what a kernel without them answers."""
    program = [*_guards(machine)]
    for number in numbers:
        program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERRNO | error)]
    return _assembled([*program, (_RETURN, 0, 0, _ALLOW)])


@cache
def available() -> bool:
    """Whether this kernel filters, and this machine's calls are known here."""
    known = platform.machine() in MACHINES
    return known and _prctl(_PR_SET_SECCOMP, _MODE_FILTER, 0) != 0 and ctypes.get_errno() == errno.EFAULT


def install(program: bytes) -> None:
    """Filter this process's calls from here on, for good; PR_SET_NO_NEW_PRIVS has to be set. Raises OSError."""
    instructions = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: a count and, at the next pointer's place, the address
    head = ctypes.create_string_buffer(
        struct.pack("@HP", len(program) // _INSTRUCTION.size, ctypes.addressof(instructions))
    )
    if _prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(head)) != 0:
        raise OSError(ctypes.get_errno(), f"no system call filter: {os.strerror(ctypes.get_errno())}")


def here() -> Machine:
    """This machine. Raises KeyError where `available` is False for it."""
    return MACHINES[platform.machine()]


_Instruction = tuple[int, int, int, int]


def _guards(machine: Machine) -> list[_Instruction]:
    """Kill whoever calls by another architecture's numbers; then the number is loaded."""
    guards = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, machine.audit),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if machine is MACHINES["x86_64"]:
        guards += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _KILL_PROCESS)]
    return guards


def _only_with(number: int, index: int, values: Sequence[int]) -> list[_Instruction]:
    """Allow a call whose argument `index` is one of `values`, none of which has more than 32 bits."""
    low = _ARGUMENTS + 8 * index
    body = [(_LOAD, 0, 0, low + 4), (_EQUAL, 0, len(values) + 1, 0), (_LOAD, 0, 0, low)]
    body += [(_EQUAL, len(values) - at, 0, value) for at, value in enumerate(values)]
    body += [(_RETURN, 0, 0, _ERRNO | errno.EPERM), (_RETURN, 0, 0, _ALLOW)]
    return [(_EQUAL, 0, len(body), number), *body]


def _assembled(program: Sequence[_Instruction]) -> bytes:
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)


def _prctl(option: int, *arguments: int) -> int:
    return int(_libc().prctl(option, *arguments, *[0] * (4 - len(arguments))))


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    return libc
