"""Export for other runtimes."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from model.errors import ModelError
from model.networks.unets import DenoiserNetwork, MeanOnly


def write_onnx(network: DenoiserNetwork, path: Path) -> None:
    """Write the mean of f as ONNX: input `noisy`, output `mean`, (N, C, H, W) float32, N, H and W free.

    Raises:
        ModelError: the `onnx` package is not installed.
    """
    try:
        import onnx  # noqa: F401  (the exporter needs it, and says so only with a traceback)
    except ImportError as error:
        raise ModelError("exporting needs the onnx package: pip install onnx") from error
    sides = {0: "n", 2: "height", 3: "width"}
    example = torch.zeros(1, network.channels, 4 * network.stride, 4 * network.stride)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # the TorchScript exporter: the one that needs no onnxscript
        torch.onnx.export(
            MeanOnly(network).eval(), (example,), path, dynamo=False, opset_version=17,
            input_names=["noisy"], output_names=["mean"], dynamic_axes={"noisy": sides, "mean": sides},
        )  # fmt: skip
