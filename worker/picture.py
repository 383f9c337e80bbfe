"""report.png: what denoising did, at a glance. Before, after and what was taken out; then the checks on it.

Made for every job, so it is drawn with Pillow and NumPy alone and from at most 320 x 320 pixels of the image: about
20 ms on one core. Pixels are shown 1:1 from the middle of the image, because shrinking an image hides its noise.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from images.codecs.png import encode
from images.decoded import Metadata
from images.info import ImageInfo

Array = NDArray[Any]
Colour = tuple[int, int, int]
Point = tuple[float, float]

SIDE, GUTTER, HEADER, CAPTION, CHART, LINE = 320, 24, 56, 28, 190, 23
WIDTH = 3 * SIDE + 4 * GUTTER
INK, MUTED, GRID, PAPER = (28, 32, 38), (106, 115, 125), (224, 228, 233), (255, 255, 255)
BLUE, BLUE_FILL, ORANGE, GREEN = (37, 99, 235), (178, 203, 250), (214, 82, 10), (21, 128, 61)
_OVERSAMPLING = 2  # charts are drawn at twice the size and shrunk: Pillow draws lines without anti-aliasing
_REACH = 4.0  # residual panel: gray is zero, black and white are 4 standard deviations
_WHITE_BOUND = 0.15  # |autocorrelation| above which noise counts as correlated, as in model.report


def draw(noisy: Array, denoised: Array, report: dict[str, Any]) -> bytes:
    """A PNG, 1056 pixels wide, of one job.

    Args:
        noisy, denoised: (N, H, W, C), (H, W, C) or (H, W), same shape; of a stack, the middle page is shown.
        report: `model.report.Report.to_dict()`.
    """
    panels = _panels(noisy, denoised)
    findings = _findings(report)
    remarks = _remarks(report["warnings"])
    charts_top = HEADER + CAPTION + panels[0].image.height + GUTTER
    table_top = charts_top + CAPTION + CHART + GUTTER + 6
    page = Image.new("RGB", (WIDTH, table_top + LINE * (len(findings) + len(remarks)) + GUTTER + 8), PAPER)
    _header(page, noisy, panels[0].cropped)
    charts = (_histogram(report), _autocorrelation(report), _noise_curve(report))
    for top, row in ((HEADER, panels), (charts_top, charts)):
        for index, panel in enumerate(row):
            left = GUTTER + index * (SIDE + GUTTER)
            caption(page, left, top, panel)
            page.paste(panel.image, (left, top + CAPTION))
    ImageDraw.Draw(page).line((GUTTER, table_top - 10, WIDTH - GUTTER, table_top - 10), fill=GRID)
    _table(page, table_top, findings, remarks)
    return encode(np.asarray(page)[None], Metadata(), ImageInfo("png", *page.size, channels=3), None)


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of the page with its caption."""

    title: str
    subtitle: str
    image: Image.Image
    cropped: bool = False


# ---- pictures --------------------------------------------------------------------------------------------------------


def _panels(noisy: Array, denoised: Array) -> tuple[Panel, ...]:
    """Before and after under one stretch, and their difference."""
    before, after = _window(noisy), _window(denoised)
    low, high = (0.0, 255.0) if noisy.dtype == np.uint8 else _span(after)
    residual = before - after
    reach = _REACH * max(float(residual.std()), 1e-12)
    height, width = noisy.shape[1:3] if noisy.ndim == 4 else noisy.shape[:2]
    cropped = max(height, width) > SIDE
    return (
        Panel("Before", "", shown(before, low, high), cropped),
        Panel("After", "", shown(after, low, high), cropped),
        Panel("Taken out", "before minus after, stretched", shown(residual, -reach, reach), cropped),
    )


def _window(image: Array) -> Array:
    """The middle of the image, at most SIDE x SIDE, as (h, w, 1 or 3) float32 in the file's units."""
    page = image[len(image) // 2] if image.ndim == 4 else image
    page = page[..., None] if page.ndim == 2 else page
    top, left = max(0, (page.shape[0] - SIDE) // 2), max(0, (page.shape[1] - SIDE) // 2)
    window: Array = page[top : top + SIDE, left : left + SIDE].astype(np.float32)
    return window if window.shape[2] in (1, 3) else window.mean(axis=2, keepdims=True)


def _span(after: Array) -> tuple[float, float]:
    """Black and white for images deeper than 8 bit: where the denoised pixels lie."""
    low, high = np.percentile(after[::2, ::2], (0.2, 99.8))
    return float(low), float(high)


def shown(window: Array, low: float, high: float) -> Image.Image:
    """low..high as black..white; small images are enlarged by a whole factor, without smoothing."""
    scaled = (window - np.float32(low)) * np.float32(255 / max(high - low, 1e-12))
    pixels = np.clip(scaled, 0, 255).astype(np.uint8)
    image = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0]).convert("RGB")
    factor = max(1, SIDE // max(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


# ---- charts ----------------------------------------------------------------------------------------------------------


class Axes:
    """A chart of SIDE x CHART pixels: data coordinates to pixels, a frame, and what is drawn in it."""

    _LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 8, 22

    def __init__(self, x: Point, y: Point) -> None:
        self._x, self._y = x, y if y[1] > y[0] else (y[0], y[0] + 1.0)
        size = SIDE * _OVERSAMPLING, CHART * _OVERSAMPLING
        self._large = Image.new("RGB", size, PAPER)
        self._pen = ImageDraw.Draw(self._large)
        self._texts: list[tuple[Point, str, str]] = []

    def at(self, x: float, y: float) -> Point:
        """Pixel of a data point, on the large canvas."""
        across = (x - self._x[0]) / (self._x[1] - self._x[0])
        up = (y - self._y[0]) / (self._y[1] - self._y[0])
        px = self._LEFT + across * (SIDE - self._LEFT - self._RIGHT)
        py = CHART - self._BOTTOM - up * (CHART - self._TOP - self._BOTTOM)
        return px * _OVERSAMPLING, py * _OVERSAMPLING

    def bar(self, left: float, right: float, value: float, colour: Colour) -> None:
        (x0, y0), (x1, y1) = self.at(left, 0.0), self.at(right, value)
        self._pen.rectangle((x0, min(y0, y1), x1, max(y0, y1)), fill=colour)

    def line(self, points: Sequence[Point], colour: Colour, width: int = 2) -> None:
        self._pen.line([self.at(*p) for p in points], fill=colour, width=width * _OVERSAMPLING, joint="curve")

    def dots(self, points: Sequence[Point], colour: Colour) -> None:
        for x, y in (self.at(*p) for p in points):
            self._pen.ellipse((x - 5, y - 5, x + 5, y + 5), fill=colour)

    def tick_x(self, value: float, text: str) -> None:
        x, y = self.at(value, self._y[0])
        self._pen.line((x, y, x, y + 6), fill=MUTED, width=2)
        self._texts.append(((x / _OVERSAMPLING, CHART - self._BOTTOM + 4), text, "m"))

    def tick_y(self, value: float, text: str) -> None:
        x, y = self.at(self._x[0], value)
        self._pen.line((x, y, SIDE * _OVERSAMPLING - 16, y), fill=GRID, width=2)
        self._texts.append(((self._LEFT - 6, y / _OVERSAMPLING - 8), text, "r"))

    def legend(self, x: float, y: float, text: str, colour: Colour) -> None:
        self._texts.append(((x, y), text, "r"))
        width = _stamp(text, 12).width
        self._pen.line(
            [(_OVERSAMPLING * px, _OVERSAMPLING * (y + 8)) for px in (x - width - 20, x - width - 6)],
            fill=colour,
            width=2 * _OVERSAMPLING,
        )

    def finished(self) -> Image.Image:
        """The chart at its final size, axes and labels on top."""
        (x0, y0), (x1, _) = self.at(self._x[0], self._y[0]), self.at(self._x[1], self._y[0])
        self._pen.line((x0, y0, x1, y0), fill=MUTED, width=_OVERSAMPLING)
        image = self._large.reduce(_OVERSAMPLING)
        for place, text, anchor in self._texts:
            write(image, place, text, 12, MUTED, anchor)
        return image


def _histogram(report: dict[str, Any]) -> Panel:
    """Standardised residual against the normal curve that Poisson-Gaussian noise would give."""
    edges = np.asarray(report["residual_histogram"]["edges"], float)
    counts = np.asarray(report["residual_histogram"]["counts"], float)
    density = counts / max(float((counts * np.diff(edges)).sum()), 1e-12)
    grid = np.linspace(edges[0], edges[-1], 81)
    normal = np.exp(-0.5 * grid**2) / np.sqrt(2 * np.pi)
    axes = Axes((float(edges[0]), float(edges[-1])), (0.0, 1.08 * max(float(density.max(initial=0)), 0.4)))
    for left, right, value in zip(edges[:-1].tolist(), edges[1:].tolist(), density.tolist(), strict=True):
        axes.bar(left, right, value, BLUE_FILL)
    axes.line(list(zip(grid.tolist(), normal.tolist(), strict=True)), ORANGE)
    for value in (-3, -2, -1, 0, 1, 2, 3):
        axes.tick_x(value, str(value))
    axes.legend(SIDE - 10, 10, "normal curve", ORANGE)
    return Panel("Histogram of what was taken out", "in expected std", axes.finished())


def _autocorrelation(report: dict[str, Any]) -> Panel:
    """Bars at lags 1-3 between the bounds inside which noise counts as white."""
    values = [float(v) for v in report["residual_autocorrelation"]]
    reach = max(0.3, 1.15 * max((abs(v) for v in values), default=0.0))
    axes = Axes((0.4, len(values) + 0.6), (-reach, reach))
    for y in (-_WHITE_BOUND, 0.0, _WHITE_BOUND):
        axes.tick_y(y, f"{y:+.2f}" if y else "0")
    for lag, value in enumerate(values, start=1):
        axes.bar(lag - 0.22, lag + 0.22, value, BLUE if abs(value) <= _WHITE_BOUND else ORANGE)
        axes.tick_x(lag, f"lag {lag}: {value:+.3f}")
    axes.line([(0.4, 0.0), (len(values) + 0.6, 0.0)], MUTED, 1)
    return Panel("Its autocorrelation", "0 = white noise", axes.finished())


def _noise_curve(report: dict[str, Any]) -> Panel:
    """Measured variance against mean, and the line alpha * mean + sigma^2 that was fitted."""
    curve = report["noise_curve"]
    points = [(float(m), float(v)) for m, v in zip(curve["mean"], curve["variance"], strict=True)]
    left, right = min((0.0, *(m for m, _ in points))), max((1.0, *(m for m, _ in points)))
    fitted = [(x, max(curve["alpha"] * x + curve["sigma"] ** 2, 0.0)) for x in np.linspace(left, right, 41).tolist()]
    # The tallest few points do not set the scale: edges in the image inflate single measurements without bound.
    top = max(1.3 * fitted[-1][1], float(np.quantile([v for _, v in points] or [0.0], 0.9)) * 1.3, 1e-9)
    axes = Axes((left, right), (0.0, top))
    step = 10 ** np.floor(np.log10(top))
    step = next(s for s in (step / 5, step / 2, step, 2 * step) if top / s <= 5)
    for index in range(int(top / step) + 1):
        axes.tick_y(float(index * step), f"{index * step:.2g}")
    for x in (0.0, 0.25, 0.5, 0.75, 1.0):
        axes.tick_x(x, f"{x:g}")
    axes.dots([(m, v) for m, v in points if v <= top], BLUE)
    axes.line(fitted, ORANGE)
    axes.legend(SIDE - 10, 10, "alpha · mean + sigma · sigma", ORANGE)
    return Panel("The noise: variance against brightness", "", axes.finished())


# ---- words -----------------------------------------------------------------------------------------------------------


def _findings(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(name, value, meaning) of each number, in plain words."""
    lags = ", ".join(f"{value:+.3f}" for value in report["residual_autocorrelation"])
    return [
        (
            "Noise before",
            f"{100 * report['noise_std_in']:.2f} % of the range",
            f"alpha {report['alpha']:.5f}, sigma {report['sigma']:.5f}; in the file's units "
            f"{report['alpha_native']:.4g} and {report['sigma_native']:.4g}",
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


def _header(page: Image.Image, noisy: Array, cropped: bool) -> None:
    frames = noisy.shape[0] if noisy.ndim == 4 else 1
    height, width = noisy.shape[1:3] if noisy.ndim == 4 else noisy.shape[:2]
    channels = noisy.shape[-1] if noisy.ndim > 2 else 1
    kind = {1: "gray", 3: "RGB"}.get(channels, f"{channels} channels")
    about = f"{width} x {height}, {kind}, {noisy.dtype.name}"
    about += f", page {frames // 2 + 1} of {frames}" if frames > 1 else ""
    about += f"; the middle {min(width, SIDE)} x {min(height, SIDE)} pixels are shown" if cropped else ""
    write(page, (GUTTER, 18), "Denoising report", 22, INK)
    write(page, (WIDTH - GUTTER, 25), about, 13, MUTED, "r")


def caption(page: Image.Image, left: int, top: int, panel: Panel) -> None:
    write(page, (left, top + 4), panel.title, 15, INK)
    if panel.subtitle:
        write(page, (left + SIDE, top + 7), panel.subtitle, 12, MUTED, "r")


def _table(
    page: Image.Image, top: int, findings: list[tuple[str, str, str]], remarks: list[tuple[str, Colour]]
) -> None:
    for index, (name, value, meaning) in enumerate(findings):
        y = top + index * LINE
        write(page, (GUTTER, y), name, 14, MUTED)
        write(page, (GUTTER + 250, y), value, 14, INK)
        write(page, (GUTTER + 470, y), meaning, 14, MUTED)
    for index, (text, colour) in enumerate(remarks):
        write(page, (GUTTER, top + 6 + (len(findings) + index) * LINE), text, 14, colour)


def write(page: Image.Image, place: Point, text: str, size: int, colour: Colour, anchor: str = "l") -> None:
    """Text at `place`: its left, middle or right (`anchor` l, m, r), and the top of its line."""
    stamp = _stamp(text, size)
    left = place[0] - {"l": 0.0, "m": 0.5, "r": 1.0}[anchor] * stamp.width
    page.paste(colour, (round(left), round(place[1])), stamp)


@lru_cache(maxsize=512)
def _stamp(text: str, size: int) -> Image.Image:
    """The text as a mask. Most texts are the same in every report, and FreeType takes 20 us a letter."""
    font = ImageFont.load_default(size)  # Pillow's built-in face: no font file is needed on the machine
    mask = Image.new("L", (int(font.getlength(text)) + 2, size + size // 2))
    ImageDraw.Draw(mask).text((0, 0), text, fill=255, font=font)
    return mask
