"""How a fine-tune can learn from noisy images alone, and which of these ways `auto` tries.

`thinning` splits each crop into two of independent noise, of which one is the target of the other (`thinning.py`). Its
gradient is the supervised one, as far as the noise line is right.
`blind2sound` is the paper's method: f and g learn together from masked and visible branches, by L_arv and L_est. Where
f adds its output to y the published loss unlearns the denoising, since at a masked pixel nothing teaches f to let go of
the y that it would add back at a visible one; there L_risk trains the visible branch, and g begins with the noise that
the base found in each image. From scratch, and from a base that Blind2Sound trained, it is the published one.
"""

from __future__ import annotations

from dataclasses import replace

from model.config import OURS, EstimatorConfig, NetworkConfig, ObjectiveConfig
from model.errors import InvalidOption

AUTO = "auto"
THINNING, BLIND2SOUND = "thinning", "blind2sound"
FRAMES = "frames"
"""Taken by `auto` where frames show one scene (`related_frames.py`); nobody asks for it by this name."""

METHODS = (THINNING, BLIND2SOUND)
SHARE = 0.1
"""Of the budget, for each of several methods before the best of them goes on with what is left."""

FEWEST_STEPS = 200
"""Of a budget whose shares can tell methods apart."""

NEAR = 1.0  # g's learning rate over f's where it corrects a measured noise, and f's own rate is a tenth of usual

WORDS = {
    THINNING: "pairs by Poisson-Gaussian thinning",
    FRAMES: "pairs of frames that show one scene",
    BLIND2SOUND: "Blind2Sound: denoiser and noise estimator together, masked and visible branch",
}


def tried(
    method: str, from_scratch: bool, steps: int | None, seen: int = 1, pairs: bool = False, correlated: bool = False
) -> tuple[str, ...]:  # fmt: skip
    """The methods that a fine-tune of at most so many steps tries, in this order.

    From a supervised base thinning was the better one on every set (benchmarks/README.md), so `auto` tries no other.
    Nor does it where neighbours share their noise: Blind2Sound rests on noise that they do not.

    Args:
        seen: pages of a stack that the network sees at once.
        pairs: whether frames are learned from each other.

    Raises:
        InvalidOption: no method of that name, or none for a network of several frames.
    """
    if method == BLIND2SOUND and seen > 1:
        raise InvalidOption("blind2sound is for images by themselves: leave `method` out, or send frames=none")
    if pairs:
        return (FRAMES,)
    if method == AUTO and seen > 1:
        return (THINNING,)
    if method == AUTO:
        return METHODS if from_scratch and not correlated and (steps is None or steps >= FEWEST_STEPS) else (THINNING,)
    if method not in METHODS:
        raise InvalidOption(f"unknown method {method!r}: choose one of {', '.join((AUTO, *METHODS))}")
    return (method,)


def network_of(method: str, base: NetworkConfig, from_scratch: bool) -> NetworkConfig:
    """The network to train: the base's, but one that does not add to y where Blind2Sound starts from nothing."""
    return replace(base, residual=False) if method == BLIND2SOUND and from_scratch else base


def objective_of(method: str, network: NetworkConfig) -> ObjectiveConfig:
    """What a step minimises."""
    if method in (THINNING, FRAMES):
        return ObjectiveConfig(name=method)
    if not network.residual:
        return ObjectiveConfig(name=BLIND2SOUND)
    return replace(OURS, name=BLIND2SOUND, informed=True, estimator=EstimatorConfig(lr_ratio=NEAR))
