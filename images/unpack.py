"""Archives from strangers, opened at arm's length: the door to `images.archive` that workers take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from images.archive import ArchiveLimits, Member


def unpack(
    source: Path, target: Path, limits: ArchiveLimits, check: Callable[[], None] = lambda: None
) -> Iterator[Member]:
    """Each file of the archive at `source`, in order: its bytes lie at `target` until the next one is asked for.

    A helper process opens the archive. `check` is called now and then while it works, and stops it by raising.
    Folders and hidden files (`.DS_Store`, `__MACOSX/…`) are passed over in silence.

    Raises:
        BrokenArchive, ArchiveTooLarge: no further member can be had.
        DecoderKilled: the system ended the helper.
    """
    from images.sandbox import shared

    return shared().unpack(source, target, limits, check)
