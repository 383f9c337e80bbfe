"""Which model denoises an image, and why: the one that was named, or the base for what it shows and its noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from images.decode import Decoded
from model.arrays.missing import Missing
from model.arrays.related import Relation, relation
from model.noise.noise_kind import NoiseKind, of_stack
from store.bases import OF_QUALITY, Quality, Scene, base_for
from store.job import Job
from store.model import Model
from store.models import ModelNotFound, Models
from store.options import DenoiseOptions

UNRELATED_WARNING = (
    "The three channels do not show one scene as a photograph's do, so each was denoised by itself; `model=base-rgb` "
    "makes the model for photographs take them together."
)
OLD_DEFAULT = "base-rgb"
"""What a gateway of before 2026-11-30 wrote into a colour image's row where nobody named a model."""

WHY: Mapping[Scene, str] = {
    Scene.GRAY: "the base for one channel",
    Scene.COLOR: "the base for three channels of one scene",
    Scene.CAMERA: "the base for a camera's noise, which neighbouring pixels share",
}


@dataclass(frozen=True)
class Choice:
    """A model, the reason for it in words, what to warn of, and the kind of noise if it was measured."""

    model: Model
    why: str
    warnings: list[str]
    kind: NoiseKind | None = None


def choose(register: Models, job: Job, options: DenoiseOptions, decoded: Decoded, missing: Missing) -> Choice:
    """The model for a job's image, told from the whole of it. Raises ModelNotFound.

    Args:
        missing: which pixels measured nothing.
    """
    pixels = decoded.pixels
    name = _named(job, options, pixels.shape[-1])
    if name is not None:
        return Choice(named_model(register, job, name), "it was asked for", [])
    quality = Quality(options.quality or Quality.FAST)
    found = relation(pixels, missing) if pixels.shape[-1] == 3 else Relation.ONE_INTENSITY
    scene = Scene.COLOR if found == Relation.ONE_SCENE else Scene.GRAY
    model = pinned_or_current(register, job, quality, scene)
    kind = None
    if scene is Scene.COLOR:
        specialist = pinned_or_current(register, job, quality, Scene.CAMERA)
        if specialist.id != model.id:
            kind = of_stack(pixels, missing)
            if kind.camera:
                scene, model = Scene.CAMERA, specialist
    unrelated = [UNRELATED_WARNING] if found == Relation.UNRELATED else []
    missing_base = stands_in(quality, model)
    warnings = [*unrelated, *([missing_base] if missing_base else [])]
    return Choice(model, f"{WHY[scene]}, quality `{quality}`", warnings, kind)


def named_model(register: Models, job: Job, name: str) -> Model:
    """The model of that name, with the weights that the job's row pins if it is a base. Raises ModelNotFound."""
    return _pinned(register, job, name) or register.get(name, job.tenant)


def pinned_or_current(register: Models, job: Job, quality: Quality, scene: Scene) -> Model:
    """The base model for a scene: of those that the job's row pins, or that there are. Raises ModelNotFound."""
    pinned = job.bases or {}
    name = base_for(quality, scene, pinned) or base_for(quality, scene, register.bases())
    if name is None:
        raise ModelNotFound("base-gray")
    return _pinned(register, job, name) or register.bases()[name]


def stands_in(quality: Quality, model: Model) -> str | None:
    """What to say of a base that is not of the quality that was asked for."""
    if model.id in OF_QUALITY[quality]:
        return None
    return f"There is no base model of quality `{quality}` for this here, so {model.id} stood in for it."


def _named(job: Job, options: DenoiseOptions, channels: int) -> str | None:
    """The model that the user named; a row of an older gateway does not say who chose `job.model`."""
    if options.model is None and (options.quality is not None or (channels == 3 and job.model == OLD_DEFAULT)):
        return None
    return job.model


def _pinned(register: Models, job: Job, name: str) -> Model | None:
    base = name.partition("@")[0]
    sha256 = (job.bases or {}).get(base)
    return None if sha256 is None else register.pinned(base, sha256)
