"""How large one upload may be: as it is set, or as fits who can reach this gateway and the free disk."""

import shutil
import tempfile

from store.settings import UPLOAD_BYTES, Settings

DISK_SHARE = 4
"""One upload may take this part of the free disk: it lies there twice, spooled and kept, and its result beside it."""


def upload_bytes(settings: Settings, open_to_all: bool) -> int:
    """The most bytes of an upload.

    Whoever runs the service for himself has stacks, and nobody to be guarded from: without keys on loopback it is
    `store.settings.OWN_UPLOAD_BYTES`, but never more than a share of the free disk.
    """
    if settings.max_upload_bytes or not open_to_all:
        return settings.max_upload_bytes or UPLOAD_BYTES
    return max(UPLOAD_BYTES, min(settings.most_upload_bytes, free_bytes() // DISK_SHARE))


def free_bytes() -> int:
    """Free bytes where uploads are spooled; 0 where that cannot be told."""
    try:
        return shutil.disk_usage(tempfile.gettempdir()).free
    except OSError:
        return 0
