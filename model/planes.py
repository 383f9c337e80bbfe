"""How the planes of a stack are shown to a network: the normalisation of each kind of plane."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from model.arrays.intensity import Intensity
from model.arrays.normalise import Normalisation
from model.noise.noise_level import NoiseLevel


@dataclass(frozen=True)
class View:
    """How planes of one kind are shown to a network.

    Attributes:
        first: the normalisation of all that is told of them.
        darker: further ones for what is dark, from the brightest.
        noise: of each channel, in file units; of none where it is not known.
    """

    first: Normalisation
    darker: tuple[Normalisation, ...] = ()
    noise: tuple[NoiseLevel, ...] = ()


PlaneKind = tuple[int, int]
"""What a plane shows: the channel of its page (0 where pages are frames), and the first of its channels in the page."""


@dataclass(frozen=True)
class Scalings:
    """The normalisation of every kind of plane of a stack, and what the user should know of how they were chosen.

    Attributes:
        intensity: what all channels follow, if they do and the model takes one; the normalisations are then of it.
        views: of the kinds whose dark parts and noise were looked at.
    """

    by_kind: Mapping[PlaneKind, Normalisation]
    warnings: tuple[str, ...] = ()
    intensity: Intensity | None = None
    views: Mapping[PlaneKind, View] = field(default_factory=dict)

    def view(self, kind: PlaneKind) -> View:
        return self.views.get(kind) or View(self.by_kind[kind])

    def noise(self, channel: int, channels: int) -> list[tuple[NoiseLevel, ...]]:
        """The noise of each of a page's channels, given what channel its page is; of none where it is not known."""
        found: list[tuple[NoiseLevel, ...]] = [()] * channels
        for (of, start), view in self.views.items():
            if of == channel and self.intensity is None:
                for index, level in enumerate(view.noise, start):
                    found[index] = (level,)
        return found
