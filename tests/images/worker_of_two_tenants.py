"""A worker whose helpers are hostile (`hostile_guest`), as a process of its own: root, or an ordinary user.

`python -m tests.images.worker_of_two_tenants FOLDER same|ordinary [missing calls…]` prints what each helper reached.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from images import landlock, lockdown, seccomp
from images.errors import BrokenImage
from images.limits import Limits
from images.nursery import Helper
from images.sandbox import Sandbox
from tests.images.hostile_guest_of_ordinary_user import become_ordinary


class Stop(Exception):
    """The sender has thought better of it."""


def main(folder: Path, kind: str, *missing: int) -> None:
    """Two tenants' files, one after the other; then one whose helper goes on for ever, and one that is canceled."""
    if missing:
        lockdown.no_new_privileges()  # or no filter is taken
        seccomp.install(seccomp.refusing(seccomp.here(), missing, errno.ENOSYS))
        landlock.version.cache_clear()
    guest = "hostile_guest_of_ordinary_user" if kind == "ordinary" else "hostile_guest"
    box = Sandbox(f"tests.images.{guest}")
    box.start()
    if kind == "ordinary":
        become_ordinary()
    lockdown.set_dumpable(False)
    secret, weights = folder / "database.sqlite3", folder / "weights"
    secret.write_text("another tenant's")
    weights.write_text("weights")
    targets = {"worker": os.getpid(), "secret": str(secret), "weights": str(weights), "folder": str(folder)}
    with socket.create_server(("127.0.0.1", 0)) as listening:
        targets["port"] = listening.getsockname()[1]
        born = _watched(box)
        reached = [_sent(box, targets), _sent(box, targets), _sent(box, targets | {"end": "stay"})]
        with suppress(Stop):
            box.decode(json.dumps(targets | {"end": "sleep"}).encode(), Limits(), _stop_soon())
        deadline = time.monotonic() + 60
        while any(_runs(pid) for pid in born) and time.monotonic() < deadline:
            time.sleep(0.05)
        left = [pid for pid in born if _runs(pid)]
        box.close()
    found = {"reached": reached, "served": len(set(born)), "left": left, "weights": weights.read_text()}
    found |= {"files": sorted(path.name for path in folder.iterdir()), "missing": lockdown.missing()}
    print(json.dumps(found))


def _watched(box: Sandbox) -> list[int]:
    """Process ids of helpers, as files get them."""
    pids: list[int] = []
    real = box._nursery.born

    def born(check: Callable[[], None]) -> Helper:
        helper = real(check)
        pids.append(helper.pid)
        return helper

    box._nursery.born = born  # type: ignore[method-assign]
    return pids


def _stop_soon() -> Callable[[], None]:
    begun = time.monotonic()

    def check() -> None:
        if time.monotonic() > begun + 1:
            raise Stop

    return check


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _sent(box: Sandbox, targets: dict[str, object]) -> dict[str, str]:
    try:
        box.decode(json.dumps(targets).encode(), Limits())
    except BrokenImage as error:
        try:
            found: dict[str, str] = json.loads(str(error))
        except json.JSONDecodeError:  # so much that it was cut
            found = {"much": str(error)}
        return found
    raise AssertionError("a hostile helper's answer was taken for an image")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *(int(argument) for argument in sys.argv[3:]))
