"""Presets and sizes as data: a variant of a network is a value here, never a copied file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Architecture = Literal["paper_unet", "shuffle_unet"]


@dataclass(frozen=True)
class NetworkConfig:
    """Size of a denoiser f.

    Attributes:
        architecture: `paper_unet` (method.md §2, reference size) or `shuffle_unet` (ours, the fast size).
        channels: image channels C: 1 gray, 3 RGB, 4 packed RAW.
        widths: feature channels a resolution level, finest first. `paper_unet` reads the first entry alone.
        blocks: residual blocks on the way down a level (the way up has as many); `paper_unet` ignores it.
        residual: `shuffle_unet` returns y + output rather than 1/2 + output. Right for supervised training. Wrong for
            training from scratch by masking: at a masked pixel y equals its neighbours' average, so nothing there
            teaches the network to let go of the y it would add back at a visible one.
    """

    architecture: Architecture
    channels: int
    widths: tuple[int, ...]
    blocks: tuple[int, ...] = ()
    residual: bool = True

    def __post_init__(self) -> None:
        if self.channels not in (1, 3, 4):
            raise ValueError(f"channels must be 1, 3 or 4, not {self.channels}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NetworkConfig:
        return cls(
            architecture=values["architecture"],
            channels=int(values["channels"]),
            widths=tuple(values["widths"]),
            blocks=tuple(values["blocks"]),
            residual=bool(values.get("residual", True)),
        )


@dataclass(frozen=True)
class EstimatorConfig:
    """Size of the noise estimator g: feature channels a level, finest first."""

    channels: int
    widths: tuple[int, ...]
    unshuffle: int = 1

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EstimatorConfig:
        return cls(int(values["channels"]), tuple(values["widths"]), int(values["unshuffle"]))


PRESETS = ("paper", "fast")


def network_preset(name: str, channels: int, residual: bool = True) -> NetworkConfig:
    """The denoiser size called `name` for images of `channels` channels; `residual` as in `NetworkConfig`.

    Raises:
        ValueError: no preset of that name.
    """
    if name == "paper":
        return NetworkConfig("paper_unet", channels, widths=(48,), residual=False)
    if name == "fast":
        return NetworkConfig("shuffle_unet", channels, widths=(32, 64, 128), blocks=(1, 1, 2), residual=residual)
    raise ValueError(f"unknown preset {name!r}: choose one of {', '.join(PRESETS)}")


def estimator_preset(name: str, channels: int) -> EstimatorConfig:
    """The estimator size that goes with the denoiser preset `name` (method.md §2: depth 3, 64/128/256)."""
    if name == "paper":
        return EstimatorConfig(channels, widths=(64, 128, 256))
    if name == "fast":
        return EstimatorConfig(channels, widths=(24, 32, 48), unshuffle=2)
    raise ValueError(f"unknown preset {name!r}: choose one of {', '.join(PRESETS)}")


@dataclass(frozen=True)
class ObjectiveConfig:
    """What a step minimises.

    Attributes:
        name: `blind2sound`, `blind2unblind`, `n2c` or `thinning`.
        phases: masker phases a step, K of 16 (1 is unbiased and cheapest; see benchmarks/README.md).
        visibility_start, visibility_end: λ until the share `visibility_knee` of the training, and at its end.
        enhanced_noise: the noise model M_E (two σ); False is the basic M_B.
        regulariser: weight of the Cramer Gaussian loss.
        regulariser_every: steps between two uses of it; its weight grows by as much.
        patch_stride: step between the patches of Chen's estimator.
        beta: weight of a pixel's likelihood by its variance, 0 the paper's (see `losses.adaptive_revisible`).
        risk: weight of L_risk, which trains the visible branch (see `objectives.Blind2Sound`); 0 is the paper's.
    """

    name: str = "n2c"
    phases: int = 1
    visibility_start: float = 3.0
    visibility_end: float = 11.0
    visibility_knee: float = 0.4
    enhanced_noise: bool = True
    regulariser: float = 0.01
    regulariser_every: int = 4
    patch_stride: int = 2
    beta: float = 0.0
    risk: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def objective_preset(preset: str, name: str) -> ObjectiveConfig:
    """The objective `name` as the denoiser preset trains it: `paper` by the published loss, `fast` with L_risk.

    Raises:
        ValueError: no preset of that name.
    """
    if preset == "paper":
        return ObjectiveConfig(name)
    if preset == "fast":
        return ObjectiveConfig(name, beta=1.0, risk=1.0, regulariser=0.1)
    raise ValueError(f"unknown preset {preset!r}: choose one of {', '.join(PRESETS)}")


@dataclass(frozen=True)
class TrainConfig:
    """A training run; a checkpoint carries it whole, so that resuming needs nothing else.

    Attributes:
        noise: level added to the images, drawn anew for each crop: PG1, PG2, PG3, blind, or none when they are noisy.
        fixed_noise: draw the noise once for each whole image and keep it, as a real data set would.
        steps, minutes: budgets; the first one that is used up ends the run. At least one is given.
        lr: Adam's peak learning rate for f; g has `lr * estimator_lr_ratio`.
        schedule: `cosine` to 1 % after a warm-up, or `halving` at 20/40/60/80 % (the paper's).
        ema: decay of the averaged weights that are published; 0 publishes the last ones.
        clip: largest gradient norm, of f and of g apart.
    """

    network: NetworkConfig
    estimator: EstimatorConfig
    objective: ObjectiveConfig
    noise: str = "none"
    fixed_noise: bool = False
    steps: int | None = None
    minutes: float | None = None
    batch: int = 4
    crop: int = 128
    lr: float = 1e-3
    estimator_lr_ratio: float = 0.1
    schedule: Literal["cosine", "halving"] = "cosine"
    warmup_steps: int = 200
    weight_decay: float = 1e-8
    ema: float = 0.999
    clip: float = 1.0
    gain_probability: float = 0.0
    start_alpha: float = 0.02
    start_sigma: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps is None and self.minutes is None:
            raise ValueError("a training needs a budget: give steps, minutes or both")
        if self.crop % 32:
            raise ValueError(f"crop must be a multiple of 32 (every network's stride divides it), not {self.crop}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainConfig:
        rest = {k: v for k, v in values.items() if k not in ("network", "estimator", "objective")}
        return cls(
            network=NetworkConfig.from_dict(values["network"]),
            estimator=EstimatorConfig.from_dict(values["estimator"]),
            objective=ObjectiveConfig(**values["objective"]),
            **rest,
        )
