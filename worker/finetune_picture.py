"""report.png of a fine-tune: held-out crops before and after, the score over time, and the noise that was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker import ways
from worker.charts import (
    BLUE,
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
    Panel,
    Pixels,
    blank,
    noise_curve,
    place,
    png,
    rule,
    shown,
    write,
)

Preview = Sequence[NDArray[Any]]
MOST_PREVIEWS = 3
WORDS = 100  # characters of a line beside its name
TITLES = (
    ("Held out, noisy", "never learned from"),
    ("By the base model", ""),
    ("By the new model", ""),
)


def draw(report: Mapping[str, Any], previews: Sequence[Preview]) -> bytes:
    """A PNG, 1056 pixels wide.

    Args:
        report: as `worker.finetune` writes it.
        previews: (noisy, base, fine-tuned) crops (H, W, C) of held-out images, each in one range of values.
    """
    rows = [_crops(preview) for preview in previews[:MOST_PREVIEWS]]
    findings = _findings(report)
    charts_top = HEADER + sum(CAPTION + len(row[0].image) + GUTTER for row in rows)
    table_top = charts_top + CAPTION + CHART + GUTTER + 6
    page = blank(table_top + LINE * len(findings) + GUTTER + 8)
    _header(page, report)
    top = HEADER
    for row in rows:
        place(page, top, row)
        top += CAPTION + len(row[0].image) + GUTTER
    place(
        page,
        charts_top,
        [
            _score(report),
            noise_curve("The set's noise: variance against brightness", report["noise"].get("curve") or {}),
        ],
    )
    rule(page, table_top - 10)
    for index, (name, value, colour) in enumerate(findings):
        write(page, (GUTTER, table_top + index * LINE), name, 14, MUTED)
        write(page, (GUTTER + 250, table_top + index * LINE), value, 14, colour)
    return png(page)


def _crops(preview: Preview) -> list[Panel]:
    """The three pictures of a crop under one stretch, that of the new model's."""
    windows = [_window(np.asarray(crop, np.float32)) for crop in preview]
    low, high = (float(value) for value in np.percentile(windows[-1], (0.2, 99.8)))
    return [
        Panel(title, subtitle, shown(window, low, high))
        for (title, subtitle), window in zip(TITLES, windows, strict=True)
    ]


def _window(crop: NDArray[np.float32]) -> NDArray[np.float32]:
    window = crop[:SIDE, :SIDE]
    return window if window.shape[2] in (1, 3) else window.mean(axis=2, keepdims=True)


def _score(report: Mapping[str, Any]) -> Panel:
    """The held-out score against the steps, and the base model's as a line: higher is better.

    Its first point is the base model's: on the same few crops, while `scores` is taken on more of them.
    """
    points = [(float(p["step"]), float(p["score"])) for p in report["history"] if p.get("score") is not None]
    if not points:
        return Panel("Held-out score by step", "none was taken", Axes((0.0, 1.0), (0.0, 1.0)).finished())
    base, values = points[0][1], [score for _, score in points]
    low, high = min(values), max(values)
    margin = max(0.1 * (high - low), 1e-3)
    last = points[-1][0]
    axes = Axes((0.0, max(last, 1.0)), (low - margin, high + margin))
    for value in np.linspace(low, high, 4).tolist():
        axes.tick_y(value, f"{value:.2f}")
    for step in np.linspace(0, last, 4).tolist():
        axes.tick_x(step, f"{step:.0f}")
    axes.line((0.0, max(last, 1.0)), (base, base), ORANGE)
    axes.legend(SIDE - 10, 10, "base model", ORANGE)
    if len(points) > 1:
        axes.line([step for step, _ in points], [score for _, score in points], BLUE)
    axes.dots(points, BLUE)
    return Panel("Held-out score by step", "estimated PSNR, dB", axes.finished())


def _findings(report: Mapping[str, Any]) -> list[tuple[str, str, tuple[int, int, int]]]:
    """(name, value, colour) of each line below the pictures."""
    found = report["set"]
    verdict = ("yes: it beat its base on held-out images", GREEN) if report["promoted"] else (
        "no: use the base model, or send more images and train longer", ORANGE)  # fmt: skip
    noise = report["noise"]
    frames = (report.get("frames") or {}).get("sentence")
    scores = report["scores"]
    compared = ", ".join(
        f"{words} {scores[name]:+.2f} dB" if name == "gain_db" else f"{words} {scores[name]:.2f} dB"
        for name, words in (("base", "base"), ("finetuned", "new"), ("gain_db", "gain"))
        if _number(scores.get(name)) is not None
    )
    return [
        ("Promoted", *verdict),
        ("Estimated PSNR, held out", compared, INK),
        ("Method", ways.method_words(report.get("learning")), INK),
        *([("Kind of noise", _kind(noise["shape"]), INK)] if "shape" in noise else []),
        ("Noise of the set", f"alpha {_shown(noise.get('alpha'))}, sigma {_shown(noise.get('sigma'))}", INK),
        (
            "Learned from",
            f"{found['kept']} files, {found['pixels'] / 1e6:.1f} megapixels; left out: {found['left_out']}",
            INK,
        ),
        *(("Frames" if line == 0 else "", words, INK) for line, words in enumerate(wrap(frames or "", WORDS))),
    ]


def _kind(shape: Mapping[str, Any]) -> str:
    return f"treated as {shape['treated_as']}; correlation {shape['beside']:.2f} beside, {shape['below']:.2f} below"


def _header(page: Pixels, report: Mapping[str, Any]) -> None:
    write(page, (GUTTER, 18), "Fine-tuning report", 22, INK)
    about = f"{report['model']}, from {'scratch' if report['from_scratch'] else report['base_model']}"
    write(page, (WIDTH - GUTTER, 25), about, 13, MUTED, "r")


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _shown(value: object) -> str:
    number = _number(value)
    return "unknown" if number is None else f"{number:.5f}"
