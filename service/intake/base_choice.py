"""Which base models a job may be run with: decided once, when it is posted, and pinned in its row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from service.http import problems
from service.intake.fields import refused_field
from service.services import Services
from store.bases import Quality, Scene, base_for, has_quality, pins, scene_of
from store.model import Model
from store.options import KNOWS_FRAMES

UNRELATED = Scene.GRAY
"""What three channels are taken for that show no single scene; the worker sees that, and the camera's noise."""


@dataclass(frozen=True, slots=True)
class BaseChoice:
    """Attributes:
    model: the id that is foreseen; None: it is known once the images are read.
    quality: of the base models; None: a model was named.
    bases: SHA-256 by name of those that a worker may take.
    needs: the least `REVISION` of a worker that can run the model.
    """

    model: str | None
    quality: Quality | None = None
    bases: Mapping[str, str] = field(default_factory=dict)
    needs: int = 0


def named(model: Model, option: str, asked: str | None) -> BaseChoice:
    """The choice of who named a model in `option`: if that is a base, with the weights that it has now.

    Raises:
        InvalidRequest: a quality was asked for as well.
    """
    if asked is not None:
        raise refused_field("quality", f"a model has its own: send `quality` or `{option}`, not both")
    name = model.id.partition("@")[0]
    bases = {name: model.sha256} if model.tenant is None else {}
    return BaseChoice(model.id, bases=bases, needs=KNOWS_FRAMES if model.frames > 1 else 0)


def for_image(services: Services, asked: str | None, channels: int) -> BaseChoice:
    """The choice for an image whose sender named no model. Blocking. Raises Unavailable: there is no base model."""
    scenes = [scene_of(channels)] if channels != 3 else [Scene.COLOR, Scene.CAMERA, UNRELATED]
    quality, there = _resolved(services, asked, scenes[:1])
    return BaseChoice(base_for(quality, scenes[0], there), quality, pins(quality, scenes, there))


def for_set(services: Services, asked: str | None) -> BaseChoice:
    """The same for a training set or a batch, whose channels nobody has seen yet."""
    scenes = [Scene.COLOR, Scene.GRAY, Scene.CAMERA]
    quality, there = _resolved(services, asked, scenes[:2])
    return BaseChoice(None, quality, pins(quality, scenes, there))


def _resolved(services: Services, asked: str | None, scenes: Sequence[Scene]) -> tuple[Quality, Mapping[str, str]]:
    """The quality, and SHA-256 by name of the base models that there are.

    `auto` takes what all workers compute at little cost, and what is there for all of the scenes.
    """
    there = {name: model.sha256 for name, model in services.models.bases().items()}
    if base_for(Quality.FAST, scenes[0], there) is None:
        raise problems.Unavailable("There is no base model. The operator has to restore model/weights.")
    wanted = asked or services.settings.quality
    if wanted != "auto":
        return Quality(wanted), there
    best = all(has_quality(Quality.BEST, scene, there) for scene in scenes) and services.workers.have_matrix_units()
    return Quality.BEST if best else Quality.FAST, there
