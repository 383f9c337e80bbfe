"""Randomised kill schedules on real servers: `python -m benchmarks.faults`, or `make faults`. Seeded: reproducible.

A schedule posts a batch of images to the gateways while processes are killed, frozen and stopped (gateways, workers,
their pool children, the decoders' helpers), Redis and PostgreSQL restarted, SQLite locked, messages doubled and
dropped, jobs canceled and deleted. Then everything must end: each accepted job in exactly one final state, with
exactly one result, whose bytes are those that the image gives undisturbed. Anything else is counted as lost (no final
state, or no such job), doubled (two final states, or a second job for one key) or wrong (other bytes, failed).
"""

from __future__ import annotations

import hashlib
import json
import random
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.chaos import Chaos, Store
from store.job import Job, JobState
from tests.harness.cluster import PATIENCE_SECONDS
from tests.harness.images_of import noisy, png

IMAGES = [png(noisy(32, 40, seed=seed)) for seed in range(4)]
SECONDS_OF_A_SCHEDULE = 3.0
MOST_FAULTS = 4
CANCELED_SHARE = 0.1
DELETED_SHARE = 0.1


@dataclass
class Tally:
    """What became of the jobs."""

    schedules: int = 0
    jobs: int = 0
    succeeded: int = 0
    canceled: int = 0
    deleted: int = 0
    lost: int = 0
    doubled: int = 0
    stuck: int = 0
    wrong: int = 0
    retried: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.lost or self.doubled or self.stuck or self.wrong)


@dataclass(frozen=True)
class Order:
    """One job of a batch: its idempotency key, which image, seconds after the begin, and what its client wants then."""

    key: str
    image: int
    delay: float
    wish: str


def main(
    schedules: Annotated[int, typer.Option(help="How many schedules.")] = 200,
    jobs: Annotated[int, typer.Option(help="Jobs of a schedule.")] = 10,
    seed: Annotated[int, typer.Option(help="The same seed gives the same schedules.")] = 0,
    store: Annotated[Store, typer.Option(help="Where rows and bytes live.")] = Store.EMBEDDED,
    workers: Annotated[int, typer.Option(help="Worker processes.")] = 3,
    gateways: Annotated[int, typer.Option(help="Gateway processes.")] = 2,
    output: Annotated[Path | None, typer.Option(help="Add the summary to this JSON file.")] = None,
) -> None:
    """Run the schedules, print and store the summary; exit status 1 if a promise was broken."""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="b2s-faults-") as folder, ExitStack() as stack:
        chaos = Chaos(Path(folder), stack, store, workers, gateways)
        tally = run(chaos, schedules, jobs, seed)
    summary = {"seed": seed, "store": store.value, "workers": workers, "gateways": gateways} | asdict(tally)
    summary["minutes"] = round((time.monotonic() - begin) / 60, 1)
    print(json.dumps(summary, indent=2))
    if output is not None:
        add(summary, output)
    if not tally.clean:
        raise typer.Exit(1)


def add(summary: dict[str, Any], output: Path) -> None:
    """Add a run to a file of runs and write their sums anew. The same seed and store replace their earlier run."""
    runs = json.loads(output.read_text())["runs"] if output.exists() else []
    same = ("seed", "store")
    runs = [run for run in runs if any(run[name] != summary[name] for name in same)] + [summary]
    counted = [item.name for item in fields(Tally) if item.type == "int"]
    together: dict[str, Any] = {name: sum(run.get(name, 0) for run in runs) for name in counted}
    kinds = sorted({kind for run in runs for kind in run["faults"]})
    together["faults"] = {kind: sum(run["faults"].get(kind, 0) for run in runs) for kind in kinds}
    output.write_text(json.dumps({"together": together, "runs": runs}, indent=2) + "\n")


def run(chaos: Chaos, schedules: int, jobs: int, seed: int) -> Tally:
    """Run schedules one after the other on one set of processes."""
    tally = Tally()
    expected = [_undisturbed(chaos, image) for image in IMAGES]
    for number in range(schedules):
        _schedule(chaos, random.Random(f"{seed}/{number}"), f"{seed}-{number}", jobs, expected, tally)
    return tally


def _undisturbed(chaos: Chaos, image: bytes) -> str:
    """SHA-256 of the result of an image when nothing goes wrong."""
    job = chaos.cluster.finished(chaos.cluster.send(image))
    assert job.result is not None, job
    digest: str = job.result["sha256"]
    return digest


def _schedule(chaos: Chaos, rng: random.Random, name: str, jobs: int, expected: list[str], tally: Tally) -> None:
    """One batch under fire."""
    faults = sorted(
        (rng.uniform(0, SECONDS_OF_A_SCHEDULE), rng.choice(chaos.kinds)) for _ in range(rng.randint(1, MOST_FAULTS))
    )
    orders = [
        Order(
            f"{name}-{index}",
            rng.randrange(len(IMAGES)),
            rng.uniform(0, SECONDS_OF_A_SCHEDULE),
            _wish(rng),
        )
        for index in range(jobs)
    ]
    with ThreadPoolExecutor(jobs) as pool:
        begin = time.monotonic()
        posts = [pool.submit(chaos.post, one.key, IMAGES[one.image], begin + one.delay) for one in orders]
        for delay, kind in faults:
            time.sleep(max(0.0, begin + delay - time.monotonic()))
            chaos.harm(kind, rng)
            tally.faults[kind] = tally.faults.get(kind, 0) + 1
        for order, post in zip(orders, posts, strict=True):
            if order.wish == "cancel":
                chaos.cancel(post.result())
            elif order.wish == "delete":
                chaos.delete(post.result())
        sent = [(order, post.result()) for order, post in zip(orders, posts, strict=True)]
    tally.schedules += 1
    _judge(chaos, sent, expected, tally)


def _wish(rng: random.Random) -> str:
    """What a client wants of a job that it has posted."""
    chance = rng.random()
    return "cancel" if chance < CANCELED_SHARE else "delete" if chance < CANCELED_SHARE + DELETED_SHARE else ""


def _judge(chaos: Chaos, sent: list[tuple[Order, str]], expected: list[str], tally: Tally) -> None:
    """Wait for the end of every accepted job, and look at it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    ids = [job_id for _, job_id in sent]
    while not all(chaos.ended(job_id) for job_id in ids) and time.monotonic() < deadline:
        time.sleep(0.1)
    found = chaos.read(ids)
    for order, job_id in sent:
        tally.jobs += 1
        verdict = _verdict(chaos, found.get(job_id), order, expected[order.image])
        setattr(tally, verdict, getattr(tally, verdict) + 1)
        if job_id in found and found[job_id].attempt > 1:
            tally.retried += 1
        if verdict not in ("succeeded", "canceled", "deleted"):
            job = found.get(job_id)
            tally.remarks.append(f"{order.key}: {verdict}: {job and (job.id, job.state.value, job.attempt, job.error)}")


def _verdict(chaos: Chaos, job: Job | None, order: Order, expected: str) -> str:
    """Name of the tally's field that a job counts for."""
    if job is None:
        return "lost"
    if not job.state.final:
        return "stuck"
    if order.wish == "delete":  # its history is gone with its bytes
        gone = job.purged and job.result_key is None and job.state is not JobState.FAILED
        return "deleted" if gone and chaos.jobs_with_key(order.key) == 1 else "wrong"
    finals = [event for event in chaos.history(job.id) if JobState(event.data.get("state", "queued")).final]
    if len(finals) != 1 or chaos.jobs_with_key(order.key) != 1:
        return "doubled"
    if job.state is JobState.CANCELED:
        return "canceled" if job.cancel_requested and job.result_key is None else "wrong"
    if job.state is JobState.FAILED or job.result_key is None or job.result is None:
        return "wrong"
    digest = hashlib.sha256(chaos.blob(job.result_key)).hexdigest()
    return "succeeded" if digest == job.result["sha256"] == expected else "wrong"


if __name__ == "__main__":
    typer.run(main)
