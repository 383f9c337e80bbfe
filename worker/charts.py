"""What the report pictures are made of: panels, charts and text, drawn with Pillow and NumPy alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Array = NDArray[Any]
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
    image: Image.Image
    cropped: bool = False


def shown(window: Array, low: float, high: float) -> Image.Image:
    """low..high as black..white; small images are enlarged by a whole factor, without smoothing."""
    scaled = (window - np.float32(low)) * np.float32(255 / max(high - low, 1e-12))
    pixels = np.clip(scaled, 0, 255).astype(np.uint8)
    image = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0]).convert("RGB")
    factor = max(1, SIDE // max(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


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


def noise_curve(title: str, curve: Mapping[str, Any]) -> Panel:
    """Measured variance against mean, and the fitted line alpha * max(mean - black, 0) + sigma^2.

    Args:
        curve: `mean` and `variance` of the points, and `alpha`, `sigma`, `black` of the line.
    """
    points = [(float(m), float(v)) for m, v in zip(curve.get("mean", ()), curve.get("variance", ()), strict=True)]
    alpha, sigma, black = (float(curve.get(name) or 0.0) for name in ("alpha", "sigma", "black"))
    left, right = min((0.0, *(m for m, _ in points))), max((1.0, *(m for m, _ in points)))
    fitted = [(x, alpha * max(x - black, 0.0) + sigma**2) for x in np.linspace(left, right, 81).tolist()]
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
    line = "alpha · (mean - black)" if black > 0 else "alpha · mean + sigma · sigma"
    axes.legend(SIDE - 10, 10, line, ORANGE)
    return Panel(title, "", axes.finished())


def caption(page: Image.Image, left: int, top: int, panel: Panel) -> None:
    write(page, (left, top + 4), panel.title, 15, INK)
    if panel.subtitle:
        write(page, (left + SIDE, top + 7), panel.subtitle, 12, MUTED, "r")


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
