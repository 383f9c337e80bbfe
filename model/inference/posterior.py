"""What a network says of a window, each brightness at the exposure that suits it, held back where it would do harm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.arrays import normalise
from model.arrays.normalise import Normalisation
from model.inference import exposures, restraint
from model.inference.backend import Backend
from model.networks.unets import ABSENT
from model.planes import View

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


class Seen(NamedTuple):
    """A window (c, h, w) in units of the view's first normalisation.

    Attributes:
        noisy: y, cut to what the networks know.
        change: what is added to it at full strength, before `kept`.
        variance: the diagonal of Σ_x.
        beyond: pixels that stay as they are; None if there are none.
        kept: the share of the change that does no harm; None: all of it.
    """

    noisy: Floats
    change: Floats
    variance: Floats
    beyond: Mask | None
    kept: Floats | None


def estimate(
    window: NDArray[Any], view: View, network: Backend, corner: tuple[int, int],
    beside: Sequence[NDArray[Any] | None] = (),
) -> Seen:  # fmt: skip
    """The posterior of a window (h, w, c) of file values whose first pixel is `corner` of its page.

    Args:
        beside: the same window of the neighbours that the network sees; None for one that is not there.
    """
    all_of_them = (view.first, *view.darker)
    units = [_unit(one, window) for one in all_of_them]
    noisy, beyond = _known(units[0])
    if not view.darker:
        change, variance = _shown(noisy, beyond, network, _beside(view.first, beside, noisy))
    else:
        change, variance = np.zeros_like(noisy), np.zeros_like(noisy)
        for one, unit, share in zip(all_of_them, units, exposures.shares(units), strict=True):
            if not share.any():
                continue
            times = np.float32(one.scale / view.first.scale)
            added, wrong = _shown(*_known(unit), network, _beside(one, beside, unit))
            change += share * times * added
            variance += share * times**2 * wrong
    return Seen(
        noisy, change, variance, beyond, restraint.share_kept(noisy, change, variance, view.noise, view.first, corner)
    )


def _unit(normalisation: Normalisation, window: NDArray[Any]) -> Floats:  # (h, w, c) -> (c, h, w)
    return np.ascontiguousarray(normalisation.to_unit(window).transpose(2, 0, 1))


def _beside(normalisation: Normalisation, windows: Sequence[NDArray[Any] | None], page: Floats) -> list[Floats]:
    """Neighbours as the network is shown them beside a page (c, h, w)."""
    absent = np.full_like(page, ABSENT)
    return [absent if window is None else _known(_unit(normalisation, window))[0] for window in windows]


def _shown(
    noisy: Floats, beyond: Mask | None, network: Backend, beside: Sequence[Floats] = ()
) -> tuple[Floats, Floats]:
    mean, variance = network(np.concatenate([noisy, *beside]) if beside else noisy, True)
    assert variance is not None
    change = mean - noisy
    if beyond is not None:
        change[beyond] = 0
    return change, variance


def _known(unit: Floats) -> tuple[Floats, Mask | None]:
    """The values cut to what the networks know, and which of them stay as they are; None if there are none.

    One hot pixel would spoil all about it. What is cut off comes back with the result: of a bright star, whose noise is
    taken out as if it were less bright, nothing is lost.
    """
    darkest, brightest = unit.min(), unit.max()
    if normalise.KNOWN[0] <= darkest and brightest <= normalise.KNOWN[1]:
        return unit, None
    known = np.clip(unit, np.float32(normalise.KNOWN[0]), np.float32(normalise.KNOWN[1]))
    if normalise.STAYING[0] <= darkest and brightest <= normalise.STAYING[1]:
        return known, None
    return known, (unit < normalise.STAYING[0]) | (unit > normalise.STAYING[1])
