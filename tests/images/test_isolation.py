"""A helper that a file has taken over reaches nothing: no other tenant, no secret, no other process, no way out."""

from __future__ import annotations

import json
import os
import platform
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from images import landlock, lockdown
from images.seccomp import MACHINES, allow_list
from tests.images.hostile_guest_of_ordinary_user import ORDINARY

_ROOT = Path(__file__).resolve().parents[2]
USERS = ["same", "ordinary"] if os.getuid() == 0 else ["same"]  # root, and one who is not; or who runs the tests
full = pytest.mark.skipif(bool(lockdown.missing()), reason=f"this kernel lacks {lockdown.missing()}")


@pytest.fixture(params=USERS)
def user(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def folder(user: str) -> Iterator[Path]:
    """A folder that is the user's own; pytest's lie in root's."""
    with tempfile.TemporaryDirectory(prefix="b2s-hostile-") as made:
        if user == "ordinary":
            os.chown(made, ORDINARY, ORDINARY)
        yield Path(made)


def attacked(folder: Path, user: str, *missing: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.images.worker_of_two_tenants", str(folder), user]
    done = subprocess.run([*command, *map(str, missing)], cwd=_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@full
def test_a_hostile_decoder_reaches_nothing_and_no_other_tenant(folder: Path, user: str) -> None:
    found = attacked(folder, user)
    assert found["reached"] == [{}, {}, {}]
    assert found["served"] == 4  # each file by a helper of its own
    assert found["left"] == []
    assert found["weights"] == "weights"
    assert found["files"] == ["database.sqlite3", "weights"]


@full
@pytest.mark.skipif(platform.machine() not in MACHINES, reason="calls have no numbers here")
def test_without_landlock_the_filter_of_calls_holds(folder: Path, user: str) -> None:
    found = attacked(folder, user, landlock.CREATE_RULESET)
    assert found["missing"] == ["landlock"]
    assert found["reached"] == [{}, {}, {}] and found["left"] == [] and found["weights"] == "weights"


def test_programs_name_the_same_calls_on_both_machines() -> None:
    """Calls of one machine alone are those that the other has dropped for newer ones."""
    x86, arm = (set(machine.calls) for machine in MACHINES.values())
    assert x86 - arm == {"poll", "time"} and arm - x86 == set()
    for machine in MACHINES.values():
        assert len(set(machine.calls.values())) == len(machine.calls)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_program_decides_each_call(machine: str) -> None:
    """Run here, as the kernel runs it, on either machine's numbers."""
    found = MACHINES[machine]
    process, calls = 4711, found.calls
    program = allow_list(found, process)
    allowed, refused, killed = "allowed", "refused", "killed"
    thread = 0x003D_0F00  # as glibc starts one: CLONE_VM | FS | FILES | SIGHAND | THREAD | …
    for audit, number, arguments, verdict in [
        (found.audit, calls["read"], (0,), allowed),
        (found.audit, 10_000, (0,), refused),
        (found.audit, calls["clone"], (thread,), allowed),
        (found.audit, calls["clone"], (17,), refused),  # fork: SIGCHLD
        (found.audit, calls["clone3"], (0,), refused),
        (found.audit, calls["tgkill"], (process, 5), allowed),
        (found.audit, calls["tgkill"], (process + 1, 5), refused),
        (found.audit, calls["tgkill"], (process + (1 << 32), 5), refused),
        (found.audit, calls["prlimit64"], (0,), allowed),
        (found.audit, calls["prlimit64"], (1,), refused),
        (found.audit, calls["fcntl"], (3, 1030), allowed),
        (found.audit, calls["fcntl"], (3, 8), refused),  # F_SETOWN
        (0x4000_0003, calls["read"], (0,), killed),  # i386
    ]:
        assert judged(program, audit, number, arguments) == verdict, (number, arguments)
    if machine == "x86_64":
        assert judged(program, found.audit, 0x4000_0000, (0,)) == killed  # x32


def judged(program: bytes, audit: int, number: int, arguments: tuple[int, ...]) -> str:
    """A small BPF machine: what a filter says of a call (Linux, Documentation/networking/filter.rst)."""
    data = struct.pack("=iIQ6Q", number, audit, 0, *arguments, *[0] * (6 - len(arguments)))
    instructions = list(struct.iter_unpack("=HBBI", program))
    at = value = 0
    while True:
        code, yes, no, constant = instructions[at]
        at += 1
        if code == 0x20:
            value = int.from_bytes(data[constant : constant + 4], sys.byteorder)
        elif code == 0x06:
            return {0x7FFF: "allowed", 0x0005: "refused", 0x8000: "killed"}[constant >> 16]
        else:
            holds = {0x15: value == constant, 0x35: value >= constant, 0x45: bool(value & constant)}[code]
            at += yes if holds else no
