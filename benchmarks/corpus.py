"""Every file of a folder through probe, the sandbox and back: `python -m benchmarks.corpus DIR`.

For each file: what it is, or why it is refused, how long that took, and whether its untouched pixels come back the
same. Ends with a table of outcomes, and with status 1 if a file crashed a helper, hung, or broke the trip.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

from images.decode import decode
from images.encode import encode
from images.errors import ImageError
from images.limits import MIB

_LOSSY = {"jpeg", "avif", "heic"}
_HANG = 20.0


def outcome(path: Path) -> tuple[str, str]:
    """(class, remark) of one file: ok, lossy, refused, crashed or wrong."""
    try:
        decoded = decode(path)
        result = encode(decoded, decoded.pixels)
        again = decode(result.data)
    except ImageError as error:
        kind = "crashed" if "its decoder fail" in str(error) else "refused"
        return kind, f"{error.code}: {error}"
    except Exception as error:  # a finding: nothing but ImageError may leave this room
        return "wrong", f"{type(error).__name__}: {error}"
    info = decoded.info
    remark = f"{info.format} {info.width} x {info.height} x {info.channels}, {info.frames} frames, {info.dtype}"
    same = again.pixels.shape == decoded.pixels.shape and np.array_equal(again.pixels, decoded.pixels)
    alpha = again.alpha is decoded.alpha is None or (
        again.alpha is not None and decoded.alpha is not None and np.array_equal(again.alpha, decoded.alpha)
    )
    lossy = info.format in _LOSSY or (info.format == "webp" and not decoded.metadata.native["lossless"])
    if same and alpha:
        return "ok", remark
    return ("lossy", remark) if lossy and again.pixels.shape == decoded.pixels.shape else ("wrong", remark)


def main() -> int:
    """Run the folder; the exit status says whether anything went wrong."""
    parser = argparse.ArgumentParser(description="Run every file of a folder through decode and encode.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    counts: Counter[str] = Counter()
    slowest = 0.0
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        start = time.perf_counter()
        kind, remark = outcome(path)
        seconds = time.perf_counter() - start
        counts["hung" if seconds > _HANG else kind] += 1
        slowest = max(slowest, seconds)
        print(f"{kind:8} {seconds:6.2f} s  {path.relative_to(folder)}  {remark}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // MIB
    print("  ".join(f"{name} {counts[name]}" for name in ("ok", "lossy", "refused", "crashed", "hung", "wrong")))
    print(f"slowest {slowest:.2f} s, peak memory of this process {peak} MiB")
    return int(bool(counts["wrong"] + counts["hung"] + counts["crashed"]))


if __name__ == "__main__":
    sys.exit(main())
