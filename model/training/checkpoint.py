"""Training checkpoints as bytes: a safetensors file with tensors by name, and JSON-ready state in its header."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from safetensors.torch import load, save
from torch import Tensor


class Checkpoint(NamedTuple):
    """Tensors by name and JSON-ready state."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]


def to_bytes(checkpoint: Checkpoint) -> bytes:
    tensors = {name: value.detach().cpu().contiguous() for name, value in checkpoint.tensors.items()}
    return save(tensors, {"state": json.dumps(checkpoint.state)})


def from_bytes(data: bytes) -> Checkpoint:
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return Checkpoint(load(data), json.loads(header["__metadata__"]["state"]))
