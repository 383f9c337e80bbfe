"""Presets and sizes as data: a variant of a network is a value here, never a copied file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple

Architecture = Literal["paper_unet", "shuffle_unet"]
FRAMES = (1, 3, 5)
"""How many pages of a stack a network may see at once."""


@dataclass(frozen=True)
class NetworkConfig:
    """Size of a denoiser f.

    Attributes:
        architecture: `paper_unet` (docs/method.md §2, reference size) or `shuffle_unet` (ours, the fast size).
        channels: image channels C: 1 gray, 3 RGB, 4 packed RAW.
        widths: feature channels a resolution level, finest first. `paper_unet` reads the first entry alone.
        blocks: residual blocks on the way down a level (the way up has as many); `paper_unet` ignores it.
        residual: `shuffle_unet` returns y + output rather than 1/2 + output. Right for supervised training. Wrong for
            training from scratch by masking: at a masked pixel y equals its neighbours' average, so nothing there
            teaches the network to let go of the y it would add back at a visible one.
        frames: pages of a stack that are seen at once: 1, or the page with 2 or 4 neighbours behind its channels.
    """

    architecture: Architecture
    channels: int
    widths: tuple[int, ...]
    blocks: tuple[int, ...] = ()
    residual: bool = True
    frames: int = 1

    def __post_init__(self) -> None:
        if self.channels not in (1, 3, 4):
            raise ValueError(f"channels must be 1, 3 or 4, not {self.channels}")
        if self.frames not in FRAMES:
            raise ValueError(f"frames must be one of {FRAMES}, not {self.frames}")

    @property
    def inputs(self) -> int:
        """Channels of what goes in."""
        return self.frames * self.channels

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
            frames=int(values.get("frames", 1)),
        )


@dataclass(frozen=True)
class EstimatorConfig:
    """The noise estimator g, which Blind2Sound trains with f.

    Attributes:
        widths: feature channels a level, finest first.
        unshuffle: side of the pixel blocks that become channels at its input.
        start_alpha, start_sigma: the noise that it answers before its first step.
        lr_ratio: its learning rate over f's.
    """

    widths: tuple[int, ...] = (24, 32, 48)
    unshuffle: int = 2
    start_alpha: float = 0.02
    start_sigma: float = 0.02
    lr_ratio: float = 0.1

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EstimatorConfig:
        return cls(**values | {"widths": tuple(values["widths"])})


@dataclass(frozen=True)
class ObjectiveConfig:
    """What a step minimises.

    Attributes:
        name: a name in `training.objectives.table.OBJECTIVES`.
        phases: masker phases a step, K of 16 (1 is unbiased and cheapest; see benchmarks/README.md).
        visibility_start, visibility_end: λ until the share `visibility_knee` of the training, and at its end.
        enhanced_noise: the noise model M_E (two σ); False is the basic M_B.
        regulariser: weight of the Cramer Gaussian loss.
        regulariser_every: steps between two uses of it; its weight grows by as much.
        patch_stride: step between the patches of Chen's estimator.
        corner: side of the corner crops that L_est also looks at (gray), over the image's.
        dependent: the branches' errors are taken for one and the same instead of independent (`blind2sound`).
        known_alpha, known_sigma: noise of all images that takes the place of g's answer, which then learns nothing; 0:
            f and g learn jointly. For the paper's comparison with the true noise or another estimator's.
        beta: weight of a pixel's likelihood by its variance, 0 the paper's (see `losses.adaptive_revisible`).
        risk: weight of L_risk, which trains the visible branch (see `objectives/blind2sound.py`); 0 is the paper's.
        informed: `blind2sound`'s g begins with the noise lines of the batch and corrects them, and the signal is what
            lies above the level where they end (a camera's pedestal). False is the paper's: g begins with its own.
        estimator: the noise estimator of `blind2sound`.
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
    corner: float = 0.75
    dependent: bool = False
    known_alpha: float = 0.0
    known_sigma: float = 0.0
    beta: float = 0.0
    risk: float = 0.0
    informed: bool = False
    estimator: EstimatorConfig = EstimatorConfig()

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ObjectiveConfig:
        return cls(**values | {"estimator": EstimatorConfig.from_dict(values["estimator"])})


class Preset(NamedTuple):
    """A network and the settings of the losses that train it; the run fills in channels and the objective's name."""

    network: NetworkConfig
    objective: ObjectiveConfig


OURS = ObjectiveConfig(beta=1.0, risk=1.0, regulariser=0.1)

PRESETS = {
    "fast": Preset(NetworkConfig("shuffle_unet", 1, widths=(32, 64, 128), blocks=(1, 1, 2)), OURS),
    "best": Preset(NetworkConfig("shuffle_unet", 1, widths=(64, 128, 256), blocks=(2, 2, 4)), OURS),
    "paper": Preset(  # as published (docs/method.md §2: g of depth 3, 64/128/256)
        NetworkConfig("paper_unet", 1, widths=(48,), residual=False),
        ObjectiveConfig(estimator=EstimatorConfig(widths=(64, 128, 256), unshuffle=1)),
    ),
}


def network_preset(name: str, channels: int, residual: bool = True) -> NetworkConfig:
    """The denoiser of the preset `name` for images of `channels` channels; `residual` as in `NetworkConfig`.

    Raises:
        ValueError: no preset of that name.
    """
    network = _preset(name).network
    return replace(network, channels=channels, residual=network.residual and residual)


def objective_preset(preset: str, name: str) -> ObjectiveConfig:
    """The objective `name` with the settings of a preset: `paper` as published, the others with L_risk.

    Raises:
        ValueError: no preset of that name.
    """
    return replace(_preset(preset).objective, name=name)


def _preset(name: str) -> Preset:
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}: choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


@dataclass(frozen=True)
class TrainConfig:
    """A training run; a checkpoint carries it whole, so that resuming needs nothing else.

    Attributes:
        noise, fixed_noise, crop, gain_probability: what `sampler.of_images` makes of images in memory; a sampler of
            another kind has its own settings.
        noisy_targets: targets are a second draw of the noise over the same scene (`objectives/noise2noise.py`).
        recipe: scenes and noises that pairs are synthesised from (`synthesis.recipes`) in the place of `noise`.
        batch: pairs a step.
        steps, minutes: budgets; the first one that is used up ends the run. At least one is given.
        lr: Adam's peak learning rate for f; what the objective trains itself has its own ratio of it.
        schedule: `cosine` after a warm-up, or `halving` at 20/40/60/80 % (the paper's).
        lr_floor: share of `lr` at which `cosine` ends.
        ema: decay of the averaged weights that are published; 0 publishes the last ones.
        clip: largest gradient norm, of f and of what the objective trains itself apart.
    """

    network: NetworkConfig
    objective: ObjectiveConfig
    noise: str = "none"
    fixed_noise: bool = False
    noisy_targets: bool = False
    steps: int | None = None
    minutes: float | None = None
    batch: int = 4
    crop: int = 128
    lr: float = 1e-3
    schedule: Literal["cosine", "halving"] = "cosine"
    lr_floor: float = 0.01
    warmup_steps: int = 200
    weight_decay: float = 1e-8
    ema: float = 0.999
    clip: float = 1.0
    gain_probability: float = 0.0
    recipe: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps is None and self.minutes is None:
            raise ValueError("a training needs a budget: give steps, minutes or both")
        if self.crop % 32:
            raise ValueError(f"crop must be a multiple of 32 (every network's stride divides it), not {self.crop}")
        if not 0 <= self.lr_floor <= 1:
            raise ValueError(f"lr_floor is a share of the learning rate, 0 to 1, not {self.lr_floor}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainConfig:
        network, objective = (values["network"], values["objective"])
        nested = {"network": NetworkConfig.from_dict(network), "objective": ObjectiveConfig.from_dict(objective)}
        return cls(**values | nested)
