"""How much work one look at a header may be: counted, so that no file, however it is built, costs more than any other.

A parser cannot be stopped from outside while it holds the interpreter's lock, so it counts itself: every read costs
`READ_STEPS` and a step for each `BYTES_A_STEP` bytes, every turn of a loop over what was read at least one. A step is
about 0.1 µs (`benchmarks/probes.py`), whichever parser takes it.
"""

from __future__ import annotations

from images.errors import BrokenImage

READ_STEPS = 8
BYTES_A_STEP = 256

PROBE_STEPS = 300_000
"""For a probe of any file: some 30 ms."""

FILE_BYTES_A_STEP = 384
"""One step more for so many bytes of the file: the image data of a GIF is a chain of blocks of at most 256 bytes."""


class Budget:
    """Steps that are left; without a number there is no bound, for files whose probe was within it."""

    __slots__ = ("left", "steps")

    def __init__(self, steps: int | None = None) -> None:
        self.steps = self.left = 1 << 62 if steps is None else steps

    @classmethod
    def of_probe(cls, size: int) -> Budget:
        """For a probe of a file of `size` bytes."""
        return cls(PROBE_STEPS + size // FILE_BYTES_A_STEP)

    @property
    def spent(self) -> int:
        """Steps taken so far."""
        return self.steps - self.left

    def take(self, steps: int) -> None:
        """Count `steps`. Raises `BrokenImage` when more are taken than there are."""
        self.left -= steps
        if self.left < 0:
            raise BrokenImage(
                f"The file's header has more parts than a real image's: it takes more than {self.steps:,} steps to "
                "read. Save the image anew, without the metadata and previews that it does not need."
            )
