"""Enter the models that ship with the program into the register, from their files' headers: no torch is needed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from store.blobs import Blobs, weights_key
from store.errors import BlobMissing
from store.models import Models

SHIPPED = Path(__file__).parent.parent / "model" / "weights"


def register_shipped(models: Models, blobs: Blobs, folder: Path = SHIPPED) -> list[str]:
    """Register every `*.safetensors` of `folder` under its name, with its bytes in the blob store; their ids.

    Cheap when nothing changed. Raises StoreError when database or blob store fail.
    """
    found = sorted(folder.glob("*.safetensors"))
    for path in found:
        data = path.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        _keep(blobs, weights_key(sha256), data)
        header = _metadata(data)
        channels = int(json.loads(header["network"])["channels"])
        card = json.loads(header["card"])
        models.register(path.stem, path.stem, channels, card, weights_key(sha256), len(data), sha256)
    return [path.stem for path in found]


def _keep(blobs: Blobs, key: str, data: bytes) -> None:
    try:
        whole = blobs.head(key).size == len(data)
    except BlobMissing:
        whole = False
    if not whole:
        blobs.put(key, data)


def _metadata(data: bytes) -> dict[str, Any]:
    """The `__metadata__` of a safetensors file: 8 bytes of header length (little endian), then the header as JSON."""
    length = int.from_bytes(data[:8], "little")
    metadata: dict[str, Any] = json.loads(data[8 : 8 + length])["__metadata__"]
    return metadata
