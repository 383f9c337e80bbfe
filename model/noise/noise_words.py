"""What a user should know of noise that is not independent from pixel to pixel, in plain words with what to do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from model.noise.noise_kind import CORRELATED, EVEN, ONE_WAY, STRONG, NoiseKind, Pattern

LEFT_IN = 0.25  # share of the lines or of a pattern above which the result is said to have kept them


def describe(before: NoiseKind, after: NoiseKind | None = None, step: int = 1) -> dict[str, Any]:
    """The report's `noise_kind`: measured numbers of the input and, where it was measured, of the result.

    Args:
        step: pixels of the image for each that was measured: 2 of a mosaic's planes.
    """
    found = {"kinds": kinds(before), **_numbers(before, step)}
    return found if after is None else found | {"after": {"kinds": kinds(after), **_numbers(after, step)}}


def kinds(found: NoiseKind) -> list[str]:
    """Short names of what was found, empty for noise that is independent from pixel to pixel."""
    return [name for name, is_so in _checks(found) if is_so]


def warnings(
    before: NoiseKind, after: NoiseKind | None = None, not_said: Sequence[str] = (), step: int = 1
) -> list[str]:
    """A sentence for each kind in the input, with what is left of it in the result and what to do about it.

    Args:
        not_said: names of kinds that are taken care of.
        step: as `describe`.
    """
    said = []
    for name in kinds(before):
        if name in not_said:
            continue
        told = _SENTENCES[name].format(
            times=before.enlarged,
            rows=before.rows.std,
            columns=before.columns.std,
            beside=before.beside[0],
            below=before.below[0],
            pattern=_pattern(before.patterns, step),
        )
        said.append(told + _left(name, before, after))
    return said


def _checks(found: NoiseKind) -> list[tuple[str, bool]]:
    periods = {(one.rows, one.columns) for one in found.patterns}
    mosaic = (2, 2) in periods or {(2, math.inf), (math.inf, 2)} <= periods
    lines = found.rows.found or found.columns.found
    enough = found.strength >= STRONG and found.unevenness <= EVEN
    beside, below = found.beside[0], found.below[0]
    steep = [one for one in found.patterns if one.rows != 2 and one.columns != 2]
    return [
        ("equal_channels", found.equal_channels and found.std > 0),
        ("enlarged", found.enlarged > 1),
        ("jpeg", found.jpeg and found.enlarged == 1 and found.strength >= STRONG / 2),
        ("mosaic", mosaic),
        ("row_lines", found.rows.found and not mosaic),
        ("column_lines", found.columns.found and not mosaic),
        ("pattern", bool(steep) and not lines and not mosaic),
        ("correlated", found.correlated and found.enlarged == 1),
        ("along_rows", enough and not lines and not found.patterns and beside >= ONE_WAY > CORRELATED / 2 > below),
        ("along_columns", enough and not lines and not found.patterns and below >= ONE_WAY > CORRELATED / 2 > beside),
    ]


_SENTENCES = {
    "equal_channels": (
        "all channels of the image are one and the same, and so is their noise: leave the choice of the model to the "
        "service, or send the image as gray"
    ),
    "enlarged": (
        "every pixel is repeated {times} times in each direction, so its noise comes in squares, which this method "
        "cannot take out: denoise the image at its original size and enlarge the result"
    ),
    "jpeg": (
        "the steps of JPEG's 8 x 8 blocks show in the image, and JPEG has spread the noise over its blocks: denoise "
        "the original from before the compression if there is one"
    ),
    "mosaic": (
        "the pixels alternate in a pattern of 2 x 2, as a camera's colour mosaic or an uneven readout makes it: "
        "if it is a mosaic, send it with `mosaic=bayer`, or send the camera's raw file"
    ),
    "row_lines": (
        "the rows of the image are shifted in brightness against each other by about {rows:.3g}, each by itself (line "
        "noise of the camera or scanner)"
    ),
    "column_lines": (
        "the columns of the image are shifted in brightness against each other by about {columns:.3g}, each by itself "
        "(line noise of the camera or scanner)"
    ),
    "pattern": (
        "a pattern that repeats every {pattern} lies over the noise, which this method takes for part of the scene: "
        "if it is not the scene's own, look for interference in the recording (mains hum, readout clocks)"
    ),
    "correlated": (
        "neighbouring pixels share part of their noise (correlation {beside:.2f} in rows, {below:.2f} in columns), as "
        "a camera's own processing, JPEG or resizing make it, so part of it may be left: send the camera's raw file, "
        "or the image at its original size"
    ),
    "along_rows": (
        "the noise is alike along rows (correlation {beside:.2f}) and not along columns, as smoothing or resampling in "
        "one direction makes it, so part of it may be left: send the recording from before that step"
    ),
    "along_columns": (
        "the noise is alike along columns (correlation {below:.2f}) and not along rows, as smoothing or resampling in "
        "one direction makes it, so part of it may be left: send the recording from before that step"
    ),
}


def _left(name: str, before: NoiseKind, after: NoiseKind | None) -> str:
    """How much of lines or a pattern the result still has."""
    if after is None or name not in ("row_lines", "column_lines", "pattern", "mosaic"):
        return ""
    share = _amplitude(name, after) / max(_amplitude(name, before), 1e-30)
    if share < LEFT_IN:
        return "; they are gone from the result" if name.endswith("lines") else "; it is gone from the result"
    what = "they are" if name.endswith("lines") else "it is"
    return f"; {what} still in the result ({100 * min(share, 1):.0f} %)" + (_REMEDY if name != "mosaic" else "")


_REMEDY = ": `lines=remove` takes out what whole rows or columns have in common, if it is not the scene's own"


def _amplitude(name: str, of: NoiseKind) -> float:
    if name == "row_lines":
        return of.rows.std
    if name == "column_lines":
        return of.columns.std
    return max((one.amplitude for one in of.patterns), default=0.0)


def _pattern(patterns: tuple[Pattern, ...], step: int) -> str:
    if not patterns:
        return ""
    one = patterns[0]
    ways = [(one.rows, "rows"), (one.columns, "columns")]
    return " and ".join(f"{step * period:.2g} {name}" for period, name in ways if period != math.inf)


def _numbers(found: NoiseKind, step: int) -> dict[str, Any]:
    return {
        "std": _short(found.std),
        "correlation_beside": [_short(v) for v in found.beside],
        "correlation_below": [_short(v) for v in found.below],
        "correlation_diagonal": _short(found.diagonal),
        "correlation_between_channels": _short(found.between_channels),
        "row_lines": _short(found.rows.std),
        "column_lines": _short(found.columns.std),
        "patterns": [
            {
                "rows": _period(step * one.rows),
                "columns": _period(step * one.columns),
                "amplitude": _short(one.amplitude),
            }
            for one in found.patterns
        ],
    }


def _period(pixels: float) -> float | None:
    """JSON knows no infinity."""
    return None if pixels == math.inf else _short(pixels)


def _short(value: float) -> float:
    return float(f"{float(value):.3g}")
