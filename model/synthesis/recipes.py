"""What each base model is trained on: which scenes, which noises, which files, in which shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from model.arrays.pixels import Pixels
from model.synthesis import noises, scenes
from model.synthesis.camera import Camera
from model.synthesis.noises import Correlated, Finish, Jpeg, Kept, Lines, Noise, Nothing, Outliers, PoissonGaussian
from model.synthesis.ranges import LogUniform, Mixture, Uniform
from model.synthesis.scenes import Blurred, Curved, Dimmed, Enlarged, Filaments, Photographs, Puncta, Scene
from model.training.sampler import Pairs


@dataclass(frozen=True)
class Recipe:
    """Scenes, noises, and what happens to the noisy image afterwards.

    Attributes:
        served: the service's normalisation, around both images, last of all.
    """

    scene: Scene
    noise: Noise
    file: Mixture[Finish]
    served: Finish = field(default_factory=Kept)

    def pair(self, side: int, rng: np.random.Generator) -> noises.Pair:
        """One training pair, (C, side, side) each."""
        pair = self.file.draw(rng)(self.noise(self.scene(side, rng), rng), rng)
        return self.served(pair, rng)


def gray(images: Sequence[Pixels]) -> Recipe:
    """Independent noise over everything that has one channel: photographs, microscopes, X-rays, night skies."""
    photographs = Photographs(images)
    scene = scenes.OneOf(
        Mixture(
            [
                (0.42, photographs),
                (0.08, Dimmed(photographs)),
                (0.10, Blurred(photographs)),
                (0.12, Curved(photographs)),
                (0.20, Blurred(Curved(photographs))),
                (0.03, Enlarged(photographs)),
                (0.03, Puncta(1)),
                (0.02, Filaments(1)),
            ]
        )
    )
    strong = PoissonGaussian(LogUniform(0.02, 0.4), Uniform(0.0, 0.25, skew=1.5))
    # Many photons: without it a network leaves weak noise in, since what it knows as weak is texture.
    weak = PoissonGaussian(LogUniform(1e-5, 1e-3), Uniform(0.001, 0.012), shot_limited=0.3)
    noise = noises.OneOf(
        Mixture(
            [
                (0.50, PoissonGaussian()),
                (0.25, strong),
                (0.18, weak),
                (0.02, Outliers(PoissonGaussian())),
                (0.05, Nothing()),
            ]
        )
    )
    file: Mixture[Finish] = Mixture([(0.88, Kept()), (0.08, noises.Clip()), (0.04, noises.EightBit())])
    return Recipe(scene, noise, file, noises.ServedNormalisation(0.45))


def rgb(images: Sequence[Pixels]) -> Recipe:
    """Independent noise on colour photographs."""
    photographs = Photographs(images)
    scene = scenes.OneOf(Mixture([(0.75, photographs), (0.15, Dimmed(photographs)), (0.10, Enlarged(photographs))]))
    strong = PoissonGaussian(LogUniform(0.02, 0.3), Uniform(0.0, 0.2, skew=1.5))
    noise = noises.OneOf(Mixture([(0.80, PoissonGaussian()), (0.15, strong), (0.05, Nothing())]))
    return Recipe(scene, noise, Mixture([(0.9, Kept()), (0.1, noises.Clip())]))


def camera(images: Sequence[Pixels]) -> Recipe:
    """Noise that went through a camera: correlated between neighbours and channels, on smooth scenes."""
    photographs = Photographs(images)
    scene = scenes.OneOf(Mixture([(0.65, Enlarged(photographs)), (0.30, photographs), (0.05, Blurred(photographs))]))
    correlated = Correlated()
    noise = noises.OneOf(
        Mixture(
            [
                (0.66, correlated),
                (0.20, Camera()),
                (0.03, Lines(correlated)),
                (0.02, Outliers(correlated)),
                (0.09, PoissonGaussian(LogUniform(0.002, 0.15), Uniform(0.0, 0.15, skew=1.5))),
            ]
        )
    )
    file: Mixture[Finish] = Mixture([(0.60, Kept()), (0.15, noises.EightBit()), (0.25, Jpeg())])
    return Recipe(scene, noise, file)


RECIPES: dict[str, Callable[[Sequence[Pixels]], Recipe]] = {"gray": gray, "rgb": rgb, "camera": camera}
CHANNELS = {"gray": 1, "rgb": 3, "camera": 3}


def build(name: str, images: Sequence[Pixels]) -> Recipe:
    """The recipe called `name` over (C, H, W) images.

    Raises:
        ValueError: no recipe of that name.
    """
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}: choose one of {', '.join(RECIPES)}")
    return RECIPES[name](images)


@dataclass(frozen=True)
class SynthesisSampler:
    """Training pairs of a recipe, for the trainer (`model.sampler.Sampler`)."""

    recipe: Recipe
    side: int

    def draw(self, count: int, rng: np.random.Generator) -> Pairs:
        """`count` pairs of `side` pixels; a scene comes from no image that could be named, so all indices are 0."""
        pairs = [self.recipe.pair(self.side, rng) for _ in range(count)]
        return Pairs(np.stack([p.noisy for p in pairs]), np.stack([p.clean for p in pairs]), [0] * count)
