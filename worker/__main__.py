"""The main process of a worker: `python -m worker denoise`. Celery, the sweep and /metrics; never imports torch."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from store.errors import StoreError
from store.settings import load_settings

KINDS = ("denoise", "finetune")


def main(arguments: Sequence[str] = sys.argv[1:]) -> int:
    """Run a worker until it is told to stop; the exit status."""
    if list(arguments) not in [[kind] for kind in KINDS]:
        print(f"usage: python -m worker {'|'.join(KINDS)}", file=sys.stderr)
        return 2
    # prometheus_client decides at import whether it keeps values in files, so this comes before worker.main.
    folder = Path(tempfile.mkdtemp(prefix="b2s-metrics-"))
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    if "OMP_WAIT_POLICY" not in os.environ:
        # Threads that wait by spinning take the cores from the other process that computes: 2 to 4 times slower when
        # measured. A spin this short outlasts the gaps between two layers and no more.
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        from worker.main import run

        return run(load_settings(), arguments[0])
    except (StoreError, OSError) as error:
        print(f"worker: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main())
