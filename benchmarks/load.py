"""Two hundred clients at once: `python -m benchmarks.load`, or `make load`. The clients are locust's.

It starts two gateways and two workers with a short queue, so that its bound is met, and counts every answer. 429 and
503 with `Retry-After` are what a client at a full queue is promised; any other answer of 4xx or 5xx is an error, and so
is a broken connection, a job that does not succeed, and one that has no end once the clients have gone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import func, select

from benchmarks.chaos import Chaos, Store
from store.schema import jobs
from tests.harness.cluster import ROOT


def main(
    clients: Annotated[int, typer.Option(help="Clients at once.")] = 200,
    seconds: Annotated[int, typer.Option(help="How long.")] = 120,
    max_queued: Annotated[int, typer.Option(help="Jobs that may wait.")] = 100,
    store: Annotated[Store, typer.Option(help="Where rows and bytes live.")] = Store.CLUSTER,
    output: Annotated[Path | None, typer.Option(help="Write the summary to this JSON file.")] = None,
) -> None:
    """Run, print and store the summary; exit status 1 on any error."""
    with tempfile.TemporaryDirectory(prefix="b2s-load-") as folder, ExitStack() as stack:
        chaos = Chaos(Path(folder), stack, store, 2, 2, max_queued=str(max_queued), lease_seconds="30")
        answers = _attack(chaos.addresses, clients, seconds)
        ended = _ended(chaos)
    summary: dict[str, Any] = {"clients": clients, "seconds": seconds, "max_queued": max_queued, "store": store.value}
    summary |= {"answers": answers, "errors": sum(a["errors"] for a in answers.values()), "jobs": ended}
    text = json.dumps(summary, indent=2)
    print(text)
    if output is not None:
        output.write_text(text + "\n")
    if summary["errors"] or ended.keys() != {"succeeded"}:
        raise typer.Exit(1)


def _attack(addresses: list[str], clients: int, seconds: int) -> dict[str, dict[str, Any]]:
    """Let locust's clients loose; what they were answered, by name."""
    command = [sys.executable, "-m", "locust", "--headless", "--json", "--only-summary", "--exit-code-on-error", "0"]
    command += ["-f", str(ROOT / "benchmarks" / "locustfile.py"), "-u", str(clients), "-r", str(clients)]
    command += ["-t", f"{seconds}s", "-s", "60"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "B2S_LOAD_ADDRESSES": ",".join(addresses)}
    run = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found = {}
    for entry in sorted(json.loads(run.stdout), key=lambda entry: entry["name"]):
        found[entry["name"]] = {"answers": entry["num_requests"], "errors": entry["num_failures"]}
        if entry["total_response_time"]:
            found[entry["name"]] |= {f"p{p}_ms": _percentile(entry["response_times"], p) for p in (50, 90, 99)}
    return found


def _percentile(counts: dict[str, int], percent: int) -> float:
    """Of a histogram {milliseconds: how many}."""
    wanted = sum(counts.values()) * percent / 100
    for milliseconds, count in sorted((float(key), count) for key, count in counts.items()):
        wanted -= count
        if wanted <= 0:
            return milliseconds
    return 0.0


def _ended(chaos: Chaos) -> dict[str, int]:
    """How many jobs ended how, once the queue has drained."""
    query = select(jobs.c.state, func.count()).group_by(jobs.c.state)

    def by_state() -> dict[str, int]:
        with chaos.cluster.engine.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    chaos.cluster.wait(lambda: not {"queued", "running"} & by_state().keys())
    return by_state()


if __name__ == "__main__":
    typer.run(main)
