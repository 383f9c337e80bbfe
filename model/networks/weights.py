"""Published weights: one safetensors file that carries its own config and card, so that loading needs nothing else."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from model.config import NetworkConfig
from model.errors import WeightsError
from model.networks.unets import DenoiserNetwork, build_denoiser

SHIPPED = Path(__file__).parents[1] / "weights"


class Published(NamedTuple):
    """A denoiser read from a file, its card and the SHA-256 of the file."""

    denoiser: DenoiserNetwork
    card: dict[str, Any]
    sha256: str


def shipped_models() -> list[str]:
    """Names of the models in the repository."""
    return sorted(path.stem for path in SHIPPED.glob("*.safetensors"))


def resolve(name_or_path: str | Path) -> Path:
    """The file of a shipped model's name, or the path itself.

    Raises:
        WeightsError: neither a shipped model nor a file.
    """
    shipped = SHIPPED / f"{name_or_path}.safetensors"
    path = shipped if shipped.is_file() else Path(name_or_path)
    if not path.is_file():
        raise WeightsError(
            f"no model {str(name_or_path)!r}: use one of {', '.join(shipped_models())}, or a .safetensors file"
        )
    return path


def to_bytes(denoiser: DenoiserNetwork, card: dict[str, Any], dtype: torch.dtype = torch.float32) -> bytes:
    """Weights, config and card as the bytes of a safetensors file; `read` computes in float32 whatever the `dtype`."""
    tensors = {name: value.detach().cpu().to(dtype).contiguous() for name, value in denoiser.state_dict().items()}
    metadata = {"network": json.dumps(denoiser.config.to_dict()), "card": json.dumps(card, sort_keys=True)}
    return save(tensors, metadata)


def write(path: Path, denoiser: DenoiserNetwork, card: dict[str, Any], dtype: torch.dtype = torch.float32) -> None:
    """Write weights so that a reader sees the old file or the new one, never half of one."""
    write_atomic(path, to_bytes(denoiser, card, dtype))


def read(path: Path) -> Published:
    """Load a published model.

    Raises:
        WeightsError: not a safetensors file of ours.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        denoiser = build_denoiser(NetworkConfig.from_dict(json.loads(metadata["network"])))
        denoiser.load_state_dict({name: value.to(torch.float32) for name, value in state.items()})
        card = json.loads(metadata["card"])
    except Exception as error:
        # The file may be anything a user named; safetensors, json and torch each raise their own kinds.
        raise WeightsError(f"{path.name} is not a model of this program: {error}") from error
    return Published(denoiser.eval(), card, hashlib.sha256(path.read_bytes()).hexdigest())


def write_atomic(path: Path, data: bytes) -> None:
    """Temporary name, fsync, rename: after a crash the file is whole or absent."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
