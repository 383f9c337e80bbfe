"""Work that does not come back when its job is canceled, on real workers: in a helper, in our code, in native code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from images import lockdown
from launch.redis_server import redis_server
from store.job import JobState
from tests.harness.cluster import Cluster, Process, cluster
from tests.harness.helpers import fork_servers, helpers


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory, faults: Path) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with redis_server(folder / "redis") as redis_url, cluster(folder, redis_url, stuck_seconds="1.5") as running:
        running.environment["B2S_FAULTS"] = str(faults)
        yield running


@pytest.fixture(scope="module")
def worker(impatient: Cluster) -> Process:
    return impatient.ready(impatient.worker())


@pytest.mark.parametrize("how", ["hang", "seize"])
def test_a_worker_that_hears_cancel_and_does_not_come_back_is_replaced(
    impatient: Cluster, worker: Process, faults: Path, small: bytes, how: str
) -> None:
    """`seize` keeps the interpreter's lock, so that not even the thread that would hear it runs."""
    before = worker.logged("child_ready")
    (faults / "tile").write_text(how)
    stuck = impatient.taken(impatient.send(small))
    impatient.wait(lambda: not (faults / "tile").exists())
    impatient.jobs.request_cancel(stuck.id)
    assert impatient.finished(stuck).state is JobState.CANCELED
    impatient.ready(worker, before + 1)
    assert impatient.finished(impatient.send(small)).state is JobState.SUCCEEDED


def test_a_cancel_is_heard_while_a_helper_works(impatient: Cluster, worker: Process, small: bytes) -> None:
    server = the_server(impatient, worker, small)
    impatient.wait(lambda: len(helpers(server)) == 1)
    (next_one,) = helpers(server)
    os.kill(next_one, signal.SIGSTOP)
    before = worker.logged("child_ready")
    held_up = impatient.taken(impatient.send(small))
    impatient.jobs.request_cancel(held_up.id)
    assert impatient.finished(held_up).state is JobState.CANCELED
    impatient.wait(lambda: next_one not in helpers(server))
    assert impatient.finished(impatient.send(small)).state is JobState.SUCCEEDED
    assert worker.logged("child_ready") == before  # it came back by itself


def test_a_helper_and_its_server_may_die_under_a_worker(impatient: Cluster, worker: Process, small: bytes) -> None:
    before = worker.logged("child_ready")
    server = the_server(impatient, worker, small)
    for victims in (helpers(server), [server]):
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        done = impatient.finished(impatient.send(small))
        assert (done.state, done.attempt) == (JobState.SUCCEEDED, 1)
    assert worker.logged("child_ready") == before


LACKING = """
import errno, runpy, sys
from images import landlock, lockdown, seccomp
lockdown.no_new_privileges()
seccomp.install(seccomp.refusing(seccomp.here(), [landlock.CREATE_RULESET], errno.ENOSYS))
sys.argv = ["worker", "denoise"]
runpy.run_module("worker", run_name="__main__")
"""
"""A worker on a kernel that does not know Landlock: that call is refused as such a kernel refuses it."""


@pytest.mark.skipif(bool(lockdown.missing()), reason=f"this kernel lacks {lockdown.missing()}")
def test_a_worker_says_what_its_kernel_lacks(own: Cluster, small: bytes) -> None:
    lacking, whole = own._start(["-c", LACKING], {}), own.worker()
    own.ready(lacking), own.ready(whole)
    assert lacking.logged('"missing": ["landlock"]') == lacking.logged("decoders_less_isolated") == 1
    assert whole.logged("decoders_less_isolated") == 0
    whole.stop()
    assert own.finished(own.send(small)).state is JobState.SUCCEEDED


POWERLESS = """
import runpy, sys
from images.lockdown import lose_capabilities, prepare
prepare(), lose_capabilities()
sys.argv = ["worker", "denoise"]
runpy.run_module("worker", run_name="__main__")
"""
"""A worker without root's capabilities, for theirs no other process without them could be read anyway."""


@pytest.mark.parametrize("debuggable", [False, True])
def test_workers_are_closed_to_others_of_their_user(own: Cluster, small: bytes, debuggable: bool) -> None:
    worker = own.ready(own._start(["-c", POWERLESS], {"B2S_DEBUGGABLE": str(debuggable)}))
    server = the_server(own, worker, small)
    for pid in (worker.pid, *fork_servers(worker.pid)):
        assert ("PermissionError" in read_by_another(pid)) is not debuggable
    assert "PermissionError" in read_by_another(server)
    if os.getuid() == 0:
        assert Path(f"/proc/{server}/environ").read_bytes() == b""  # and its helpers inherit it


def read_by_another(pid: int) -> str:
    """What goes wrong when a process of the same user, without a capability, reads another's environment."""
    code = "from images.lockdown import lose_capabilities; from pathlib import Path; lose_capabilities(); "
    code += f"Path('/proc/{pid}/environ').read_bytes()"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    return done.stderr


def the_server(running: Cluster, worker: Process, image: bytes) -> int:
    """The fork server of the worker's one pool child, once that has decoded an image."""
    assert running.finished(running.send(image)).state is JobState.SUCCEEDED
    running.wait(lambda: len(fork_servers(worker.pid)) == 1)
    (server,) = fork_servers(worker.pid).values()
    return server
