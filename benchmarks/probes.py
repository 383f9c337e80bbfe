"""What a probe may cost: `python -m benchmarks.probes`; each parser before its worst file of 1 and 64 MiB.

Prints the CPU time of one thread (the best of three: what other work on the machine adds is not the parser's) and the
steps that were counted. The goal is 50 ms for the worst, since the gateway's probes hold the interpreter's lock.
"""

from __future__ import annotations

import time

from images.errors import ImageError
from images.limits import MIB, Limits
from images.probe import probe_source
from images.source import Source
from tests.harness import worst

GOAL_MS = 50.0
LIMITS = Limits(max_bytes=64 * MIB)


def measured(data: bytes) -> tuple[float, int, str]:
    """(milliseconds, steps, what became of it)."""
    best, steps, end = float("inf"), 0, "read"
    for _ in range(3):
        with Source(data) as source:
            begin = time.thread_time()
            try:
                probe_source(source, LIMITS)
            except ImageError as error:
                end = type(error).__name__
            best = min(best, time.thread_time() - begin)
            steps = source.budget.spent
    return 1000 * best, steps, end


def main() -> None:
    """Measure and print."""
    print("| parser | worst case | MiB | ms | steps | end |\n|---|---|---|---|---|---|")
    slowest = 0.0
    for kind, makers in worst.CASES.items():
        for make in makers:
            for size in (MIB, 64 * MIB):
                data = make(size)[: 64 * MIB]
                ms, steps, end = measured(data)
                slowest = max(slowest, ms)
                print(
                    f"| {kind} | {make.__name__} | {len(data) / MIB:.1f} | {ms:.1f} | {steps:,} | {end} |", flush=True
                )
    print(f"\nthe worst: {slowest:.1f} ms, goal {GOAL_MS:.0f}")


if __name__ == "__main__":
    main()
