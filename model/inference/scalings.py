"""How each kind of plane of a stack is normalised: chosen once, for the whole stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.arrays import normalise
from model.arrays.intensity import Intensity
from model.arrays.missing import Missing, known_sample
from model.arrays.normalise import Normalisation
from model.errors import InvalidArray
from model.inference import exposures
from model.noise import noise_level
from model.planes import PlaneKind, Scalings, View

Array = NDArray[Any]
_OTHER_BRIGHTNESS = (
    "the image is far brighter or darker than those that the model was made from, so it was normalised by its own "
    "percentiles: compare with the base model"
)
_NOTHING = (
    "no pixel of the image measured anything: all are NaN, infinite or marked as missing; send one that has values"
)


@dataclass(frozen=True)
class OwnScale:
    """What a model's card says of the images that it was made from.

    Attributes:
        normalisation: a fine-tuned model's set's, for files of type `dtype`; None: it has none.
        full_scale: it learned from images at their type's full scale, and sees those that fill it so.
    """

    normalisation: Normalisation | None
    dtype: str
    full_scale: bool

    @classmethod
    def of(cls, card: Mapping[str, Any]) -> OwnScale:
        own = card.get("normalisation")
        made = Normalisation(own["offset"], own["scale"]) if own else None
        return cls(made, own["dtype"] if own else "", bool(card.get("full_scale")))

    def auto(self, values: Array, dtype: np.dtype[Any]) -> tuple[Normalisation, str | None]:
        """The normalisation of a sample of values of a file of `dtype`, and what the user should know of it."""
        own = self.normalisation if self.dtype == str(dtype) else None
        if not values.size:
            return normalise.IDENTITY, None
        if self.full_scale and normalise.fills_scale(values):
            return normalise.choose(values[:1], "dtype"), None
        if own and normalise.fits(own, values):
            return own, None
        return normalise.choose(values, "auto"), _OTHER_BRIGHTNESS if own else None


def choose_scalings(
    stack: Array,
    mode: str,
    channel_of: Sequence[int],
    groups: Sequence[slice],
    missing: Missing,
    followed: Intensity | None,
    own: OwnScale,
) -> Scalings:
    """The normalisation of each channel of a stack's pages, and of each group of channels in a page.

    Args:
        stack: (N, H, W, C). Only mode `auto` looks at its values; a large stack need not be read for the others.
        channel_of: the channel of each page, (N,).
        groups: channels of a page that go through the network together.
        followed: the intensity that all channels follow, if they do.

    Raises:
        InvalidArray: no pixel measured anything, or the values span more than a number can hold.
        InvalidOption: no such mode.
    """
    auto = mode == "auto"
    found: dict[PlaneKind, Normalisation] = {}
    views: dict[PlaneKind, View] = {}
    warnings: list[str] = []
    nothing = True
    for channel, pages in _pages_of(channel_of).items():
        for group in groups:
            values = known_sample(stack, pages if auto else pages[:1], group, missing)
            nothing = nothing and not values.size
            if followed:
                values = followed.values(values.reshape(-1, stack.shape[-1]))
            kind = channel, group.start
            if not auto:
                found[kind] = normalise.choose(values, mode)
                continue
            found[kind], warning = own.auto(values, stack.dtype)
            warnings += [warning] if warning else []
            some = noise_level.squares(stack, pages, group, missing.of)
            some = followed.values(some) if followed else some
            views[kind] = exposures.view(some, found[kind])  # who names a normalisation gets that and nothing else
    if nothing and (auto or len(stack) == 1):
        raise InvalidArray(_NOTHING)
    return Scalings(found, tuple(dict.fromkeys(warnings)), followed, views)


def _pages_of(channel_of: Sequence[int]) -> dict[int, list[int]]:
    """The pages of each channel."""
    pages: dict[int, list[int]] = {}
    for page, channel in enumerate(channel_of):
        pages.setdefault(channel, []).append(page)
    return pages
