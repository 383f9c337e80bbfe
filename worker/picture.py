"""report.png: what denoising did, at a glance. Before, after and what was taken out; then the checks on it.

Drawn with Pillow and NumPy alone and from at most 320 x 320 pixels of the image: about 8 ms on one core. Pixels are
shown 1:1 from the middle of the image, because shrinking an image hides its noise.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.report.report import WHITE
from worker.charts import (
    BLUE,
    BLUE_FILL,
    CAPTION,
    CHART,
    GREEN,
    GUTTER,
    HEADER,
    INK,
    LINE,
    MUTED,
    ORANGE,
    SIDE,
    WIDTH,
    Axes,
    Colour,
    Panel,
    Pixels,
    blank,
    noise_curve,
    place,
    png,
    rule,
    shown,
    write,
)  # fmt: skip
from worker.cut import Cut

Array = NDArray[Any]
_REACH = 4.0  # residual panel: gray is zero, black and white are 4 standard deviations
_UNIT_LETTERS = 16


def draw(cut: Cut, report: dict[str, Any]) -> bytes:
    """A PNG, 1056 pixels wide, of one job.

    Args:
        cut: the middle of the image, before and after.
        report: `model.report.Report.to_dict()`.
    """
    panels = _panels(cut)
    findings = _findings(report)
    remarks = _remarks(report["warnings"])
    charts_top = HEADER + CAPTION + len(panels[0].image) + GUTTER
    table_top = charts_top + CAPTION + CHART + GUTTER + 6
    page = blank(table_top + LINE * (len(findings) + len(remarks)) + GUTTER + 8)
    _header(page, cut, panels[0].cropped)
    charts = (
        _histogram(report),
        _autocorrelation(report),
        noise_curve("The noise: variance against brightness", report["noise_curve"]),
    )
    place(page, HEADER, panels)
    place(page, charts_top, charts)
    rule(page, table_top - 10)
    _table(page, table_top, findings, remarks)
    return png(page)


# ---- pictures --------------------------------------------------------------------------------------------------------


def _panels(cut: Cut) -> tuple[Panel, ...]:
    """Before and after under one stretch, and their difference."""
    before, after = cut.before.astype(np.float32), cut.after.astype(np.float32)
    low, high = (0.0, 255.0) if cut.dtype == "uint8" else _span(after)
    residual = before - after
    reach = _REACH * max(float(residual.std()), 1e-12)
    cropped = max(cut.shape[1:3]) > SIDE
    return (
        Panel("Before", "", shown(before, low, high), cropped),
        Panel("After", "", shown(after, low, high), cropped),
        Panel("Taken out", "before minus after, stretched", shown(residual, -reach, reach), cropped),
    )


def _span(after: Array) -> tuple[float, float]:
    """Black and white for images deeper than 8 bit: where the denoised pixels lie."""
    low, high = np.percentile(after[::2, ::2], (0.2, 99.8))
    return float(low), float(high)


# ---- charts --------------------------------------------------------------------------------------------------------


def _histogram(report: dict[str, Any]) -> Panel:
    """Standardised residual against the normal curve that Poisson-Gaussian noise would give."""
    edges = np.asarray(report["residual_histogram"]["edges"], float)
    counts = np.asarray(report["residual_histogram"]["counts"], float)
    density = counts / max(float((counts * np.diff(edges)).sum()), 1e-12)
    grid = np.linspace(edges[0], edges[-1], 81)
    normal = np.exp(-0.5 * grid**2) / np.sqrt(2 * np.pi)
    axes = Axes((float(edges[0]), float(edges[-1])), (0.0, 1.08 * max(float(density.max(initial=0)), 0.4)))
    axes.steps(edges, density, BLUE_FILL)
    axes.line(grid, normal, ORANGE)
    for value in (-3, -2, -1, 0, 1, 2, 3):
        axes.tick_x(value, str(value))
    axes.legend(SIDE - 10, 10, "normal curve", ORANGE)
    return Panel("Histogram of what was taken out", "in expected std", axes.finished())


def _autocorrelation(report: dict[str, Any]) -> Panel:
    """Bars at lags 1-3 between the bounds inside which noise counts as white."""
    values = [float(v) for v in report["residual_autocorrelation"]]
    reach = max(0.3, 1.15 * max((abs(v) for v in values), default=0.0))
    axes = Axes((0.4, len(values) + 0.6), (-reach, reach))
    for y in (-WHITE, 0.0, WHITE):
        axes.tick_y(y, f"{y:+.2f}" if y else "0")
    for lag, value in enumerate(values, start=1):
        axes.bar(lag - 0.22, lag + 0.22, value, BLUE if abs(value) <= WHITE else ORANGE)
        axes.tick_x(lag, f"lag {lag}: {value:+.3f}")
    axes.line((0.4, len(values) + 0.6), (0.0, 0.0), MUTED, 1)
    return Panel("Its autocorrelation", "0 = white noise", axes.finished())


# ---- words -----------------------------------------------------------------------------------------------------------


def _findings(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(name, value, meaning) of each number, in plain words."""
    lags = ", ".join(f"{value:+.3f}" for value in report["residual_autocorrelation"])
    channels = len(report["channels"])
    return [
        (
            f"Noise, noisiest of {channels} channels" if channels else "Noise before",
            f"{100 * report['noise_std_in']:.2f} % of the range",
            f"alpha {report['alpha']:.5f}, sigma {report['sigma']:.5f}; in {_unit(report)} "
            f"{report['alpha_native']:.4g} and {report['sigma_native']:.4g} at brightness {report['black_native']:.4g}",
        ),
        ("Error left, estimated", f"{100 * report['noise_std_out']:.2f} % of the range", ""),
        ("Mean of what was taken out", f"{100 * report['residual_mean']:+.3f} %", "0 = the brightness did not move"),
        ("Its spread over the expected", f"{report['residual_std_ratio']:.3f}", "1 = as much as there was noise"),
        ("Its autocorrelation, lags 1-3", lags, "0 = white, as independent noise is"),
        (
            "Its correlation with the image",
            f"{report['residual_signal_correlation']:+.3f}",
            "0 = no structure was taken away",
        ),
        ("Clipped pixels", f"{100 * report['clipped_share']:.2f} %", "noise there cannot be told from the range's end"),
    ]


def _unit(report: dict[str, Any]) -> str:
    """The file's units by name; reports of before 2026-11-30 do not name them."""
    return str(report.get("unit_native") or "the file's units")[:_UNIT_LETTERS]


def _remarks(warnings: Sequence[str]) -> list[tuple[str, Colour]]:
    """Lines of warning, or the one that says there is none."""
    if not warnings:
        return [("No warnings: what was taken out looks like noise.", GREEN)]
    lines: list[tuple[str, Colour]] = []
    for text in warnings:
        wrapped = textwrap.wrap(_plain(text[:1].upper() + text[1:]), 125)
        lines += [(f"{'! ' if index == 0 else '  '}{line}", ORANGE) for index, line in enumerate(wrapped)]
    return lines


def _plain(text: str) -> str:
    """The text in letters that the built-in font has."""
    for special, plain in (("α", "alpha"), ("σ", "sigma"), ("−", "-"), ("–", "-"), ("×", "x"), ("μ", "mean")):
        text = text.replace(special, plain)
    return text.encode("latin-1", "replace").decode("latin-1")


def _header(page: Pixels, cut: Cut, cropped: bool) -> None:
    frames, height, width, channels = cut.shape
    kind = {1: "gray", 3: "RGB"}.get(channels, f"{channels} channels")
    about = f"{width} x {height}, {kind}, {cut.dtype}"
    about += f", page {frames // 2 + 1} of {frames}" if frames > 1 else ""
    about += f"; the middle {min(width, SIDE)} x {min(height, SIDE)} pixels are shown" if cropped else ""
    write(page, (GUTTER, 18), "Denoising report", 22, INK)
    write(page, (WIDTH - GUTTER, 25), about, 13, MUTED, "r")


def _table(page: Pixels, top: int, findings: list[tuple[str, str, str]], remarks: list[tuple[str, Colour]]) -> None:
    for index, (name, value, meaning) in enumerate(findings):
        y = top + index * LINE
        write(page, (GUTTER, y), name, 14, MUTED)
        write(page, (GUTTER + 250, y), value, 14, INK)
        write(page, (GUTTER + 470, y), meaning, 14, MUTED)
    for index, (text, colour) in enumerate(remarks):
        write(page, (GUTTER, top + 6 + (len(findings) + index) * LINE), text, 14, colour)
