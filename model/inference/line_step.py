"""Line noise taken out before the network looks: it takes what a row or a column has in common for structure.

The lines' offsets are in the rows' means, but so is the scene. They are told apart by frequency: segments of a row
agree about a line and differ about the scene, and independent lines have equal power at all frequencies, a scene has
not (Wiener filter; Wiener, "Extrapolation, Interpolation, and Smoothing of Stationary Time Series", 1949).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from model.arrays.missing import Missing, filled
from model.noise import lines

Array = NDArray[Any]
Floats = NDArray[np.float32]
Mode = Literal["auto", "keep", "remove"]

SEGMENTS, SEGMENT = 16, 8  # parts of a line, and the pixels that each has at least
SMOOTH = 4  # frequencies to either side over which the scene's power is averaged
UPPER = 0.25  # cycles a line; above, scenes have little power, and that of independent lines is read
SCENE = (
    0.35  # of the variance between segments: they are not independent, but the scene's mean is smaller than they say
)
SHARP = 2  # power of the filter: 1 has the least squared error, 2 leaves less of the lines
SLOWEST = 1 / 64  # cycles a line; slower changes are the scene's light
SLOW = 1 / 20  # cycles a line; slower peaks are the scene's shapes and no stripes
PEAK = 30.0  # power against scene and lines together, of a pattern that repeats
ALTERNATING = 0.45  # cycles a line; a pattern below may be blinds, and is taken out only when asked for
STRONGEST = 3.0  # times the noise from pixel to pixel: stronger lines are taken for the scene's unless asked for
LEVELS = 16  # of a halftone or a drawing
REPEATING = 0.2  # share of the lines' power that repeats, above which they are blinds or a screen unless asked for
CROP = 256  # pixels a side in which a screen's dots are looked for
FINE = 0.1  # cycles a pixel in both directions; a screen's dots are finer, most of a scene is not
FINEST = 0.45  # the same of what changes from each pixel to the next,
CHECKS = 0.98  # and the sum of both frequencies that a checkerboard has, and its crop's edge
DOTS = 0.25  # power of the strongest pattern of dots over that of all lines, above which the lines are of dots


@dataclass(frozen=True)
class Whole:
    """The stack of which a part is denoised, so that the part's lines are those of the whole."""

    stack: Array
    missing: Missing
    rows: slice
    columns: slice


@dataclass(frozen=True)
class LineStep:
    """How line noise is dealt with.

    Attributes:
        mode: `auto` takes out what is line noise with certainty, `remove` also what repeats, `keep` nothing.
        whole: what the pages are parts of; None: they are whole.
    """

    mode: Mode = "auto"
    whole: Whole | None = None

    def taken_out(self, index: int, page: Array) -> tuple[Array, Floats | None]:
        """A page without its lines, and what they add to it; the page itself and None if there are none."""
        found = self.of(index, page)
        return (page, None) if found is None else (page.astype(np.result_type(page, np.float32)) - found, found)

    def of(self, index: int, page: Array) -> Floats | None:
        """What lines add to page number `index` (H, W, C), in the page's units; None: nothing.

        Pixels at an end of an integer's range are not those of the lines but the range's.

        Args:
            page: with missing pixels filled.
        """
        if self.mode == "keep":
            return None
        if self.whole is None:
            found = added(page, self.mode)
        else:
            source = self.whole.stack[index]
            found = added(filled(source, self.whole.missing.of(index, source)), self.mode)
            found = None if found is None else found[self.whole.rows, self.whole.columns]
        if found is not None and page.dtype.kind == "u":
            found = np.where((page == 0) | (page == np.iinfo(page.dtype).max), np.float32(0), found)
        return found


def added(page: Array, mode: Mode) -> Floats | None:
    """The offsets of rows and columns of a page (H, W, C), for every pixel; None if there are none."""
    height, width, _ = page.shape
    if min(height, width) < lines.FEWEST:
        return None
    ways = (page, page.transpose(1, 0, 2))
    sure = [_certain(way) for way in ways]
    if mode == "auto" and (
        not any(sure) or any(_of_dots(way) for way, certain in zip(ways, sure, strict=True) if certain)
    ):
        return None
    alternating = not all(sure)  # in both directions it is a mosaic
    rows, columns = (
        offsets(way, mode == "remove", alternating) if mode == "remove" or certain else None
        for way, certain in zip(ways, sure, strict=True)
    )
    found = np.zeros(page.shape, np.float32)
    if rows is not None:
        found += rows[:, None]
    if columns is not None:
        found += columns[None]
    return found if found.any() else None


def _certain(way: Array) -> bool:
    seen = lines.of_rows(way)
    return seen.found and seen.std <= STRONGEST * seen.noise and len(np.unique(way[::5, ::5])) > LEVELS


def _of_dots(way: Array) -> bool:
    """Whether lines are those of a mesh or a screen: dots repeat along the lines, too, and lines do not."""
    middle = tuple(slice(max(0, (length - CROP) // 2), (length + CROP) // 2) for length in way.shape[:2])
    crop = way[middle].mean(2, dtype=np.float32)
    crop -= crop.mean()
    crop *= np.hanning(crop.shape[0])[:, None] * np.hanning(crop.shape[1])
    power = np.abs(np.fft.rfft2(crop)) ** 2  # (frequencies of the rows' sequence, those along a row)
    rows, columns = np.abs(np.fft.fftfreq(crop.shape[0]))[:, None], np.fft.rfftfreq(crop.shape[1])
    fine = power[(rows >= FINE) & (columns >= FINE)]
    checks = power[(rows >= FINEST) & (columns >= FINEST)]  # of two pixels a side
    return bool(
        fine.max() > DOTS * power[rows[:, 0] >= FINE, 0].sum()
        or checks[(rows + columns)[(rows >= FINEST) & (columns >= FINEST)] >= CHECKS].max() > PEAK * np.median(checks)
    )


def offsets(image: Array, repeating: bool, alternating: bool) -> Floats:
    """How far the rows of an image (H, W, C) are shifted against each other, (H, C).

    Args:
        repeating: whether patterns that repeat are taken for line noise; else what has many of them has none.
        alternating: whether one that repeats every second line is.
    """
    segments = min(SEGMENTS, image.shape[1] // SEGMENT)
    size = image.shape[1] // segments
    height, _, channels = image.shape
    cut = image[:, : segments * size].reshape(height, segments, size, channels)
    means = cut.mean(2, dtype=np.float64)
    means -= means[:1]  # rounding must not be seen upon a constant
    mirrored = np.concatenate([means, means[-2:0:-1]])  # a cosine transform: no step where the end meets the beginning
    spectrum = np.fft.rfft(mirrored, axis=0) / len(mirrored) ** 0.5  # (frequencies, segments, C)
    whole = spectrum.mean(1)
    apart = (np.abs(spectrum - whole[:, None]) ** 2).sum(1) / (segments * (segments - 1))
    frequency = np.arange(len(whole)) / len(mirrored)
    filtered = np.stack(
        [_filtered(whole[:, c], apart[:, c], frequency, repeating, alternating) for c in range(channels)], 1
    )  # (frequencies, C)
    found = np.fft.irfft(filtered * len(mirrored) ** 0.5, len(mirrored), axis=0)[:height]
    return np.asarray(found, np.float32)


def _filtered(
    whole: NDArray[np.complex128],
    apart: NDArray[np.float64],
    frequency: NDArray[np.float64],
    repeating: bool,
    alternating: bool,
) -> NDArray[np.complex128]:
    """The part of the rows' mean spectrum that is the lines'."""
    scene = SCENE * _smooth(apart)
    power = np.abs(whole) ** 2
    upper = frequency >= UPPER
    independent = max(float(np.median((power - apart)[upper])) / np.log(2), 0.0)  # the median of an exponential
    share = independent**SHARP / np.maximum(independent**SHARP + scene**SHARP, 1e-300)
    peaks = (power > PEAK * (scene + independent)) & (frequency >= SLOWEST)
    of_scene = peaks & (frequency < ALTERNATING) & (frequency > SLOW)
    lines_power = independent * len(power) + power[peaks & (frequency >= ALTERNATING)].sum()
    if not repeating and power[of_scene].sum() > REPEATING * lines_power:
        return np.zeros_like(whole)
    taken = peaks if repeating else peaks & (frequency >= ALTERNATING) & alternating
    return np.where(frequency < SLOWEST, 0.0, np.where(taken, 1.0, share) * whole)


def _smooth(power: NDArray[np.float64]) -> NDArray[np.float64]:
    reach = min(SMOOTH, len(power) - 1)
    padded = np.pad(power, reach, mode="reflect")
    sums = np.cumsum(np.concatenate([[0.0], padded]))
    found: NDArray[np.float64] = (sums[2 * reach + 1 :] - sums[: -2 * reach - 1]) / (2 * reach + 1)
    return found
