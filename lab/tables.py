"""What `lab.reproduce` measured, as people read it: a Markdown table, and a plot of PSNR against training time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from lab.published import ESTIMATES, SCORES, SOURCE

Result = Mapping[str, Any]
WIDTH, HEIGHT, MARGIN, LEGEND = 720, 420, 50, 190
COLOURS = ("#1b6ca8", "#c0392b", "#27ae60", "#8e44ad", "#d35400", "#16a085", "#7f8c8d", "#2c3e50", "#b7950b", "#e84393")


def markdown(results: Iterable[Result]) -> str:
    """A row a method and noise: mean PSNR and SSIM over the seeds, their spread, the published ones, minutes."""
    cells: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for result in results:
        cells[result["level"], result["method"]].append(result)
    names = list(dict.fromkeys(name for found in cells.values() for result in found for name in result["scores"]))
    head = ["noise", "method", *(f"{name}, published" if published else name for name in names for published in (0, 1))]
    lines = [[*head, "seeds", "minutes"], ["---"] * (len(head) + 2)]
    for (level, method), found in sorted(cells.items()):
        row = [level, method]
        for name in names:
            row.append(_measured([result["scores"][name] for result in found if name in result["scores"]]))
            printed = SCORES.get((method, level, name))
            row.append(f"{printed.psnr:.2f} / {printed.ssim:.3f}" if printed else "")
        minutes = np.mean([result["minutes"] for result in found])
        lines.append([*row, str(len(found)), f"{minutes:.1f}"])
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{text}\n\nPSNR in dB / SSIM. Published: {SOURCE}.\n\n{_noise_table(cells)}"


def plot(results: Sequence[Result]) -> str:
    """An SVG: PSNR on the first set against minutes of training, a line a cell that has a curve."""
    drawn = [result for result in results if result["curve"]]
    points = [(point["minutes"], point["psnr"]) for result in drawn for point in result["curve"]]
    if not points:
        return ""
    (_, low), (right, high) = np.min(points, axis=0), np.max(points, axis=0)
    low, high = np.floor(low), max(np.ceil(high), np.floor(low) + 1)

    def place(minutes: float, psnr: float) -> str:
        x = MARGIN + (WIDTH - MARGIN - LEGEND) * minutes / right
        y = HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (psnr - low) / (high - low)
        return f"{x:.1f},{y:.1f}"

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
             f'font-size="12"><rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']  # fmt: skip
    for psnr in np.arange(low, high + 0.5):
        x, y = place(0, psnr).split(",")
        parts.append(f'<path d="M{x},{y}H{WIDTH - LEGEND}" stroke="#ddd"/><text x="10" y="{y}">{psnr:.0f} dB</text>')
    parts.append(f'<text x="{MARGIN}" y="{HEIGHT - 15}">0 … {right:.1f} minutes of training</text>')
    for number, result in enumerate(drawn):
        colour = COLOURS[number % len(COLOURS)]
        line = " ".join(place(point["minutes"], point["psnr"]) for point in result["curve"])
        label = escape(f"{result['method']} {result['level']} #{result['seed']}")
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{WIDTH - LEGEND + 10}" y="{MARGIN + 16 * number}" fill="{colour}">{label}</text>')
    return "".join(parts) + "</svg>"


def _measured(scores: Sequence[Mapping[str, float]]) -> str:
    if not scores:
        return ""
    psnr = [score["psnr"] for score in scores]
    spread = f" ± {np.std(psnr, ddof=1):.2f}" if len(psnr) > 1 else ""
    return f"{np.mean(psnr):.2f}{spread} / {np.mean([score['ssim'] for score in scores]):.3f}"


def _noise_table(cells: Mapping[tuple[str, str], Sequence[Result]]) -> str:
    lines = ["| noise | method | α̂ | σ̂ |", "|---|---|---|---|"]
    for (level, method), found in sorted(cells.items()):
        noises = [result["noise"] for result in found if result["noise"]]
        if noises:
            alpha, sigma = (np.mean([noise[name] for noise in noises]) for name in ("alpha", "sigma"))
            lines.append(f"| {level} | {method} | {alpha:.4f} | {sigma:.4f} |")
    for level in sorted({level for level, _ in cells}):
        if level in ESTIMATES:
            lines.append(f"| {level} | PGE-Net, published | {ESTIMATES[level][0]:.4f} | {ESTIMATES[level][1]:.4f} |")
    return "\n".join(lines)
