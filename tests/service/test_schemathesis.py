"""schemathesis drives the running gateway from its own OpenAPI document: no 500, no answer outside its schema."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from images.limits import Limits
from store.job import JobKind
from store.keys import Scope
from tests.harness.gateway import Running, running_gateway
from worker.drawing import Drawing

REPORT = {
    "alpha": 0.01, "sigma": 0.02, "alpha_native": 2.5, "sigma_native": 5.1, "noise_std_in": 0.07, "noise_std_out": 0.01,
    "residual_mean": 0.0, "residual_std_ratio": 1.0, "residual_autocorrelation": [0.0, 0.0, 0.0],
    "residual_signal_correlation": 0.0, "clipped_share": 0.0, "warnings": [],
    "noise_curve": {"mean": [0.5], "variance": [0.005], "alpha": 0.01, "sigma": 0.02},
    "residual_histogram": {"edges": [-1.0, 0.0, 1.0], "counts": [5, 5]},
}  # fmt: skip

# DELETE removes a job's bytes and keeps its record for a while, by design; a schema cannot say that random bytes are
# no image, that a crop lies outside of one, or that a result was deleted: all rightly refused.
LEFT_OUT = "use_after_free,positive_data_acceptance"


@pytest.fixture
def busy_gateway(tmp_path: Path) -> Iterator[Running]:
    """A gateway that asks for keys, and whose jobs are finished as they come, every third one by failing."""
    with running_gateway(tmp_path, max_wait_seconds=0.2, max_queued=1_000_000) as gateway:
        stop = threading.Event()

        services = gateway.services
        drawing = Drawing(services.pictures, services.jobs, services.blobs, services.broker, Limits())

        def work() -> None:
            turn = 0
            while not stop.wait(0.02):
                drawing.draw_next()
                while job := gateway.services.jobs.claim(JobKind.DENOISE, "test"):
                    turn += 1
                    if turn % 3:
                        gateway.succeed(job, report=json.dumps(REPORT).encode())
                    else:
                        gateway.fail(job)

        worker = threading.Thread(target=work)
        worker.start()
        try:
            yield gateway
        finally:
            stop.set()
            worker.join()


def test_no_500_no_answer_outside_its_schema_and_none_without_a_key(busy_gateway: Running, tmp_path: Path) -> None:
    key = busy_gateway.services.keys.create("default", [Scope.ADMIN])
    busy_gateway.wait_until_closed()
    run = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")), "run", f"{busy_gateway.url}/openapi.json",
            f"--header=Authorization: Bearer {key}",
            "--max-examples=15", "--workers=1", "--seed=1", "--request-timeout=20", f"--exclude-checks={LEFT_OUT}",
            "--suppress-health-check=all", "--generation-database=none", "--no-color",
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert re.search(r"Selected: (\d+)/\1\b", run.stdout), run.stdout[-6000:]
