"""What a fine-tune says of itself once it has ended: numbers, words and pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.arrays.pixels import Pixels
from model.finetuning.contest import Contest
from model.finetuning.heldout import FEWEST, Scores, Verdict
from model.finetuning.noise_lines import NoiseLines
from model.networks.unets import DenoiserNetwork

CURVE_POINTS = 64
SHAPES = 8  # that a card lists

Preview = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


def numbers(before: Scores, after: Scores, verdict: Verdict) -> dict[str, float]:
    """The held-out scores of both models, flat."""
    named = {"base": before.psnr, "finetuned": after.psnr, "gain_db": verdict.gain_db}
    named |= {"standard_errors": verdict.certainty, "likelihood_standard_errors": verdict.likelihood_certainty}
    named["independent_parts"] = verdict.clusters
    for prefix, scores in (("base", before), ("finetuned", after)):
        named |= {f"{prefix}_{k}": v for k, v in scores.to_dict().items() if k != "psnr"}
    return {k: short(v) for k, v in named.items()}


def doubt(verdict: Verdict, after: Scores) -> str | None:
    """Why the held-out part could not tell; None if it could."""
    if not after.possible:
        return (
            "The noise of the set is not what it was taken for: by it the new model's error would be below zero, so "
            "its gain says nothing"
        )
    if verdict.clusters >= FEWEST:
        return None
    return (
        f"The held-out part of the set has {verdict.clusters} places that do not overlap, and telling a gain from "
        f"chance takes {FEWEST}"
    )


def noise_of(lines: NoiseLines) -> dict[str, Any]:
    """Alpha, sigma and black of the set in normalised units, and the curve they were fitted to."""
    fit = lines.pooled[0]
    thin = slice(None, None, max(1, fit.mean.size // CURVE_POINTS))
    found = {"alpha": short(fit.alpha), "sigma": short(fit.sigma), "black": short(fit.black)}
    curve = {"mean": [short(v) for v in fit.mean[thin]], "variance": [short(v) for v in fit.variance[thin]]}
    return found | {"one_line_for_all_images": lines.shared, "curve": curve | found}


def learning(asked: str, contest: Contest) -> dict[str, Any]:
    """The method that was asked for, the one that was used, and how those did that were tried for a share."""
    trials = [{"method": t.method, "score": short(t.score), "steps": t.steps} for t in contest.finished]
    return {"asked": asked, "used": contest.course.method, "tried": trials}


def images_of(images: Sequence[Pixels]) -> dict[str, Any]:
    """How many images a set has, and of which shapes."""
    shapes = sorted({f"{i.shape[2]}x{i.shape[1]}x{i.shape[0]} {i.dtype}" for i in images})
    return {"count": len(images), "shapes": shapes[:SHAPES]}


@torch.inference_mode()
def previews(crops: Sequence[Tensor], base: DenoiserNetwork, tuned: DenoiserNetwork) -> list[Preview]:
    """Crops (1, n·C, H, W): their pages as they are, by the base and by the new model, each (H, W, C)."""
    shown = []
    for noisy in crops:
        at_device = noisy.to(next(base.parameters()).device)
        images = (noisy[:, : base.channels], base(at_device)[0].cpu(), tuned(at_device)[0].cpu())
        first, second, third = (image[0].permute(1, 2, 0).numpy() for image in images)
        shown.append((first, second, third))
    return shown


def json_ready(values: dict[str, Any]) -> dict[str, Any]:
    """The same with words for what JSON has no form of, e.g. paths."""
    found: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return found


def short(value: float) -> float:
    """Five significant digits: what an estimate carries."""
    return float(f"{float(value):.5g}")
