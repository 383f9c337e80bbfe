"""What the report pictures are made of: panels, charts and text, drawn with Pillow and NumPy alone.

A page is an array, since writing a ready text into an array takes a tenth of what pasting it into an image takes, and
a page has sixty of them. Charts are drawn by Pillow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.ImageFont import FreeTypeFont

from images.codecs.png import encode
from images.decoded import Metadata
from images.info import ImageInfo

Array = NDArray[Any]
Pixels = NDArray[np.uint8]  # (H, W, 3), or (H, W, 1) for gray
Colour = tuple[int, int, int]
Point = tuple[float, float]

SIDE, GUTTER, HEADER, CAPTION, CHART, LINE = 320, 24, 56, 28, 190, 23
WIDTH = 3 * SIDE + 4 * GUTTER
INK, MUTED, GRID, PAPER = (28, 32, 38), (106, 115, 125), (224, 228, 233), (255, 255, 255)
BLUE, BLUE_FILL, ORANGE, GREEN = (37, 99, 235), (178, 203, 250), (214, 82, 10), (21, 128, 61)
_OVERSAMPLING = 2  # charts are drawn at twice the size and shrunk: Pillow draws lines without anti-aliasing


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of the page with its caption."""

    title: str
    subtitle: str
    image: Pixels
    cropped: bool = False


def blank(height: int) -> Pixels:
    """An empty page."""
    return np.full((height, WIDTH, 3), PAPER[0], np.uint8)


def place(page: Pixels, top: int, panels: Sequence[Panel]) -> None:
    """Put panels side by side, each below its caption."""
    for index, panel in enumerate(panels):
        left = GUTTER + index * (SIDE + GUTTER)
        write(page, (left, top + 4), panel.title, 15, INK)
        if panel.subtitle:
            write(page, (left + SIDE, top + 7), panel.subtitle, 12, MUTED, "r")
        height, width, channels = panel.image.shape
        spot = page[top + CAPTION : top + CAPTION + height, left : left + width]
        for channel in range(3):  # NumPy takes five times as long to spread a gray pixel over three
            spot[..., channel] = panel.image[..., channel % channels]


def rule(page: Pixels, top: int) -> None:
    """A line across the page."""
    page[top, GUTTER : WIDTH - GUTTER + 1] = GRID


def png(page: Pixels) -> bytes:
    """The page as a file."""
    return encode(page[None], Metadata(), ImageInfo("png", WIDTH, len(page), channels=3), None)


def shown(window: Array, low: float, high: float) -> Pixels:
    """low..high as black..white; small images are enlarged by a whole factor, without smoothing."""
    scaled = (window - np.float32(low)) * np.float32(255 / max(high - low, 1e-12))
    pixels: Pixels = np.clip(scaled, 0, 255).astype(np.uint8)
    factor = max(1, SIDE // max(pixels.shape[:2]))
    return pixels.repeat(factor, 0).repeat(factor, 1) if factor > 1 else pixels


class Axes:
    """A chart of SIDE x CHART pixels: data coordinates to pixels, a frame, and what is drawn in it."""

    _LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 8, 22

    def __init__(self, x: Point, y: Point) -> None:
        self._x, self._y = x, y if y[1] > y[0] else (y[0], y[0] + 1.0)
        size = SIDE * _OVERSAMPLING, CHART * _OVERSAMPLING
        self._large = Image.new("RGB", size, PAPER)
        self._pen = ImageDraw.Draw(self._large)
        self._texts: list[tuple[Point, str, str]] = []

    def at(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Pixel of a data point, or pixels of arrays of them, on the large canvas."""
        across = (x - self._x[0]) / (self._x[1] - self._x[0])
        up = (y - self._y[0]) / (self._y[1] - self._y[0])
        px = self._LEFT + across * (SIDE - self._LEFT - self._RIGHT)
        py = CHART - self._BOTTOM - up * (CHART - self._TOP - self._BOTTOM)
        return px * _OVERSAMPLING, py * _OVERSAMPLING

    def bar(self, left: float, right: float, value: float, colour: Colour) -> None:
        (x0, y0), (x1, y1) = self.at(left, 0.0), self.at(right, value)
        self._pen.rectangle((x0, min(y0, y1), x1, max(y0, y1)), fill=colour)

    def steps(self, edges: Array, values: Array, colour: Colour) -> None:
        """Bars without gaps: `values` (n) above 0 between `edges` (n + 1)."""
        outline = np.concatenate(([0.0], values.repeat(2), [0.0]))
        self._pen.polygon(self._flat(edges.repeat(2), outline), fill=colour)

    def line(self, x: ArrayLike, y: ArrayLike, colour: Colour, width: int = 2) -> None:
        self._pen.line(self._flat(np.asarray(x), np.asarray(y)), fill=colour, width=width * _OVERSAMPLING)

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
        width = _stamp(text, 12, MUTED).shape[1]
        self._pen.line(
            [(_OVERSAMPLING * px, _OVERSAMPLING * (y + 8)) for px in (x - width - 20, x - width - 6)],
            fill=colour,
            width=2 * _OVERSAMPLING,
        )

    def _flat(self, x: Array, y: Array) -> list[float]:
        """Pixels of data points as Pillow likes them: x, y, x, y, …"""
        return np.stack(self.at(x, y), axis=-1).ravel().tolist()

    def finished(self) -> Pixels:
        """The chart at its final size, axes and labels on top."""
        (x0, y0), (x1, _) = self.at(self._x[0], self._y[0]), self.at(self._x[1], self._y[0])
        self._pen.line((x0, y0, x1, y0), fill=MUTED, width=_OVERSAMPLING)
        chart = np.array(self._large.reduce(_OVERSAMPLING))
        for where, text, anchor in self._texts:
            write(chart, where, text, 12, MUTED, anchor)
        return chart


def noise_curve(title: str, curve: Mapping[str, Any]) -> Panel:
    """Measured variance against mean, and the fitted line alpha * max(mean - black, 0) + sigma^2.

    Args:
        curve: `mean` and `variance` of the points, and `alpha`, `sigma`, `black` of the line.
    """
    points = [(float(m), float(v)) for m, v in zip(curve.get("mean", ()), curve.get("variance", ()), strict=True)]
    alpha, sigma, black = (float(curve.get(name) or 0.0) for name in ("alpha", "sigma", "black"))
    left, right = min((0.0, *(m for m, _ in points))), max((1.0, *(m for m, _ in points)))
    bends = np.array([left, min(max(black, left), right), right])  # all of the line's
    fitted = alpha * np.maximum(bends - black, 0.0) + sigma**2
    # The tallest few points do not set the scale: edges in the image inflate single measurements without bound.
    top = max(1.3 * float(fitted[-1]), float(np.quantile([v for _, v in points] or [0.0], 0.9)) * 1.3, 1e-9)
    axes = Axes((left, right), (0.0, top))
    step = 10 ** np.floor(np.log10(top))
    step = next(s for s in (step / 5, step / 2, step, 2 * step) if top / s <= 5)
    for index in range(int(top / step) + 1):
        axes.tick_y(float(index * step), f"{index * step:.2g}")
    for x in (0.0, 0.25, 0.5, 0.75, 1.0):
        axes.tick_x(x, f"{x:g}")
    axes.dots([(m, v) for m, v in points if v <= top], BLUE)
    axes.line(bends, fitted, ORANGE)
    line = "alpha · (mean - black)" if black > 0 else "alpha · mean + sigma · sigma"
    axes.legend(SIDE - 10, 10, line, ORANGE)
    return Panel(title, "", axes.finished())


def write(page: Pixels, where: Point, text: str, size: int, colour: Colour, anchor: str = "l") -> None:
    """Text at its left, middle or right (`anchor` l, m, r), and the top of its line; what is darker there stays."""
    stamp = _stamp(text, size, colour)
    left = max(0, round(where[0] - {"l": 0.0, "m": 0.5, "r": 1.0}[anchor] * stamp.shape[1]))
    top = max(0, round(where[1]))
    spot = page[top : top + stamp.shape[0], left : left + stamp.shape[1]]
    np.minimum(spot, stamp[: spot.shape[0], : spot.shape[1]], out=spot)


@lru_cache(maxsize=512)
def _stamp(text: str, size: int, colour: Colour) -> Pixels:
    """The text on paper. Most texts are the same in every report, and FreeType takes 20 us a letter."""
    font = _font(size)
    image = Image.new("RGB", (int(font.getlength(text)) + 2, size + size // 2), PAPER)
    ImageDraw.Draw(image).text((0, 0), text, fill=colour, font=font)
    return np.asarray(image)


@cache
def _font(size: int) -> FreeTypeFont | ImageFont.ImageFont:
    """Pillow's built-in face: no font file is needed on the machine."""
    return ImageFont.load_default(size)
