"""Half an hour under fire: `python -m benchmarks.soak`, or `make soak`.

Clients send images of mixed sizes and small fine-tunes, cancel some and delete some, while processes are killed, frozen
and stopped, Redis and PostgreSQL restarted, killed and frozen, and S3 refuses and hangs. One gateway and one worker are
spared: what they hold (resident memory, open files) must not grow after the warm-up. Results expire during the run, so
the bytes that are left at the end are looked at too.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.chaos import Chaos, Store
from benchmarks.resident import Observer, children, command
from benchmarks.soak_client import (
    PATIENCE_SECONDS,
    TUNE_SETTINGS,
    Findings,
    Picture,
    SoakClient,
    SoakTuner,
    pictures,
)
from store.job import JobState
from worker.leftovers import collect_unnamed

RESULT_HOURS = 0.05
"""So short that every job of the run has expired at its end, and its bytes with it."""


def main(
    minutes: Annotated[float, typer.Option(help="How long.")] = 30.0,
    warm_up_minutes: Annotated[float, typer.Option(help="What processes hold is judged from then on.")] = 6.0,
    clients: Annotated[int, typer.Option(help="Clients at once.")] = 6,
    harm_seconds: Annotated[float, typer.Option(help="Mean time from one harm to the next.")] = 20.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same harms and orders.")] = 0,
    store: Annotated[Store, typer.Option(help="Where rows and bytes live.")] = Store.CLUSTER,
    output: Annotated[Path | None, typer.Option(help="Write the summary to this JSON file.")] = None,
) -> None:
    """Run, print and store the summary; exit status 1 if a promise was broken."""
    with tempfile.TemporaryDirectory(prefix="b2s-soak-") as folder, ExitStack() as stack:
        settings = TUNE_SETTINGS | {"result_hours": str(RESULT_HOURS)}
        chaos = Chaos(Path(folder), stack, store, 1, 1, witnesses=True, tuners=1, **settings)
        sent = [Picture(size, data, _undisturbed(chaos, data)) for size, data in pictures().items()]
        observer = stack.enter_context(Observer(_roles(chaos)))
        found, harms = _run(chaos, sent, 60 * minutes, clients, harm_seconds, seed)
        observer.stop()
        left = _left_behind(chaos, found)
    held = observer.judged(60 * warm_up_minutes)
    summary: dict[str, Any] = {"minutes": minutes, "seed": seed, "store": store.value, "clients": clients}
    summary |= {"jobs": len(found.job_ids)} | dict(sorted(found.counts.items())) | left
    summary |= {"seconds_to_result": _percentiles(found.seconds), "harms": harms, "held": held}
    summary |= {"remarks": found.remarks[:50]}
    text = json.dumps(summary, indent=2)
    print(text)
    if output is not None:
        output.write_text(text + "\n")
    flat = all(role["flat"] for role in held.values())
    if found.counts["broken"] or any(left.values()) or not flat:
        raise typer.Exit(1)


def _undisturbed(chaos: Chaos, image: bytes) -> str:
    """SHA-256 of the result of an image when nothing goes wrong."""
    job = chaos.cluster.finished(chaos.cluster.send(image))
    assert job.result is not None, job
    digest: str = job.result["sha256"]
    return digest


def _roles(chaos: Chaos) -> dict[str, Any]:
    """The processes whose memory is watched: of the witnesses, by what they do."""
    assert chaos.witnesses is not None
    gateway, worker = chaos.witnesses.gateway.pid, chaos.witnesses.worker.pid

    def pool() -> list[int]:
        return [pid for pid in children(worker) if "billiard.spawn" in command(pid)]

    return {
        "gateway": lambda: [gateway],
        "worker": lambda: [worker],
        "worker_child": pool,
        "decoder": lambda: [helper for child in pool() for helper in children(child)],
    }


def _run(
    chaos: Chaos, sent: list[Picture], seconds: float, clients: int, harm_seconds: float, seed: int
) -> tuple[Findings, dict[str, int]]:
    """Clients and harms for so long; then everything is left to end."""
    found, harms, rng = Findings(), dict.fromkeys(chaos.kinds, 0), random.Random(seed)
    threads = [SoakClient(number, seed, chaos.addresses, found, sent) for number in range(clients)]
    threads.append(SoakTuner(clients, seed, chaos.addresses, found, sent))
    for thread in threads:
        thread.start()
    end = time.monotonic() + seconds
    while (pause := rng.expovariate(1 / harm_seconds)) < end - time.monotonic():
        time.sleep(pause)
        kind = rng.choice(chaos.kinds)
        chaos.harm(kind, rng)
        harms[kind] += 1
    time.sleep(max(0.0, end - time.monotonic()))
    for thread in threads:
        thread.over.set()
    for thread in threads:
        thread.join()
    return found, harms


def _left_behind(chaos: Chaos, found: Findings) -> dict[str, int]:
    """What should not be there when everything has ended, expired and been cleaned up."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not all(job.purged for job in chaos.read(found.job_ids).values()) and time.monotonic() < deadline:
        time.sleep(1.0)
    time.sleep(5.0)  # the last one may be under way
    jobs, blobs = chaos.cluster.jobs, chaos.cluster.blobs
    collect_unnamed(blobs, "jobs", jobs.known_keys, older_seconds=-60)  # of those who died between row and bytes
    rows = chaos.read(found.job_ids)
    return {
        "lost": len(found.job_ids) - len(rows),
        "stuck": sum(not job.state.final for job in rows.values()),
        "failed": sum(job.state is JobState.FAILED for job in rows.values()),
        "kept_beyond_its_time": sum(not job.purged for job in rows.values()),
        "blobs_left": len(list(blobs.below("jobs"))),
    }


def _percentiles(seconds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Seconds from posting to the checked result, outages included; by size and over all."""
    groups = seconds | {"all": [second for size in seconds.values() for second in size]}
    return {
        name: {f"p{p}": round(float(np.percentile(values, p)), 2) for p in (50, 90, 99)} | {"jobs": len(values)}
        for name, values in groups.items()
        if values
    }


if __name__ == "__main__":
    typer.run(main)
