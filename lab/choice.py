"""Which model an image gets where none was named: as the service chooses, of the models that ship."""

from __future__ import annotations

from lab.files import Pixels
from model.arrays.missing import find
from model.arrays.related import Relation, relation
from model.inference.denoiser import Denoiser, base_model_for
from model.networks.weights import shipped_models
from model.noise.noise_kind import of_stack


class Denoisers:
    """Loads a model once: the one that was named, or the base model that fits an image."""

    def __init__(self, name: str | None, device: str = "auto") -> None:
        self.name, self.device = name, device
        self.loaded: dict[str, Denoiser] = {}

    def for_pixels(self, pixels: Pixels) -> Denoiser:
        """The model for (H, W), (H, W, C) or (N, H, W, C) pixels."""
        name = self.name or _base(pixels)
        if name not in self.loaded:
            self.loaded[name] = Denoiser.load(name, self.device)
        return self.loaded[name]


def _base(pixels: Pixels) -> str:
    stack = pixels[None] if pixels.ndim == 3 else pixels
    if stack.ndim != 4:
        return base_model_for(1)
    missing = find(stack)
    if relation(stack, missing) != Relation.ONE_SCENE:
        return base_model_for(1)
    channels = stack.shape[-1]
    camera = channels == 3 and "base-camera" in shipped_models() and of_stack(stack, missing).camera
    return "base-camera" if camera else base_model_for(channels)
