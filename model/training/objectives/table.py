"""All training objectives by name. Another method is one more file of this folder and one more line here."""

from __future__ import annotations

from model.config import ObjectiveConfig
from model.training.objectives.base import Objective
from model.training.objectives.blind2sound import Blind2Sound
from model.training.objectives.blind2unblind import Blind2Unblind
from model.training.objectives.fbi import FBIDenoiser
from model.training.objectives.frame_pairs import FramePairs
from model.training.objectives.laine19 import Laine19
from model.training.objectives.neighbor2neighbor import Neighbor2Neighbor
from model.training.objectives.noise2clean import Noise2Clean
from model.training.objectives.noise2noise import Noise2Noise
from model.training.objectives.noise2self import Noise2Self
from model.training.objectives.noise2void import Noise2Void
from model.training.objectives.thinned_pairs import ThinnedPairs

OBJECTIVES: dict[str, type[Objective]] = {
    "blind2sound": Blind2Sound,
    "blind2unblind": Blind2Unblind,
    "n2c": Noise2Clean,
    "thinning": ThinnedPairs,
    "frames": FramePairs,
    "n2n": Noise2Noise,
    "noise2void": Noise2Void,
    "noise2self": Noise2Self,
    "neighbor2neighbor": Neighbor2Neighbor,
    "laine19": Laine19,
    "fbi": FBIDenoiser,
}


def build(config: ObjectiveConfig, channels: int) -> Objective:
    """The objective that `config` names, for images of `channels` channels.

    Raises:
        ValueError: no objective of that name.
    """
    if config.name not in OBJECTIVES:
        raise ValueError(f"unknown objective {config.name!r}: choose one of {', '.join(OBJECTIVES)}")
    return OBJECTIVES[config.name](config, channels)
