"""PSNR on real noise, by the model that the service takes for each image where none is named.

python -m benchmarks.real --data DIR     # DIR/real/{sidd12,w2s,confocal5}

Phone photographs are scored as they come back. Microscopy is scored after an affine fit (a·x + b, least squares), since
each side of those pairs was rescaled by itself. Checkpoints of the base models were chosen by the phone photographs
with even numbers; those with odd numbers are told apart.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lab.choice import Denoisers
from lab.evaluate import fit_affine, psnr
from lab.files import Pixels, image_files, page


def phones(data: Path) -> Iterator[tuple[str, Pixels, Pixels]]:
    """Set, noisy and reference (H, W, 3) of each photograph."""
    for path in sorted((data / "real/sidd12").glob("NOISY_*")):
        number = int(path.stem.split("_")[1])
        name = "phones, odd numbers" if number % 2 else "phones, even numbers"
        yield name, page(path), page(path.with_name(path.name.replace("NOISY", "GT")))


def microscopes(data: Path) -> Iterator[tuple[str, Pixels, Pixels]]:
    """Set, noisy and reference (H, W) of each field."""
    for path in image_files(data / "real/w2s/noisy"):
        yield f"w2s-{path.stem[-1]}", page(path), page(data / "real/w2s/reference" / path.name)
    for path in image_files(data / "real/confocal5/Confocal_gaussianpoisson"):
        yield "confocal5", page(path), page(data / "real/confocal5/Confocal_gt_or_clean" / path.name)


def gray(pixels: Pixels) -> Pixels:
    """(H, W), of a field that was stored as three equal channels, too."""
    return pixels[..., 0] if pixels.ndim == 3 else pixels


def score(image: Pixels, reference: Pixels, affine: bool = False) -> float:
    """PSNR in dB of 8-bit images."""
    image, reference = image.astype(np.float64), reference.astype(np.float64)
    return psnr(fit_affine(image, reference) if affine else image, reference)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", help="a model by name or file for all; default: what the service takes")
    options = parser.parse_args()
    denoisers = Denoisers(options.model, "cpu")
    before, after, used = defaultdict(list), defaultdict(list), defaultdict(set)
    for name, noisy, reference in phones(options.data):
        denoiser = denoisers.for_pixels(noisy)
        before[name].append(score(noisy, reference))
        after[name].append(score(denoiser.denoise(noisy), reference))
        used[name].add(denoiser.name)
    for name, noisy, reference in microscopes(options.data):
        noisy, reference = gray(noisy), gray(reference)
        denoiser = denoisers.for_pixels(noisy)
        before[name].append(score(noisy, reference, affine=True))
        after[name].append(score(denoiser.denoise(noisy), reference, affine=True))
        used[name].add(denoiser.name)
    print("| set | n | noisy | denoised | by |\n|---|---|---|---|---|")
    for name in after:
        numbers = f"{np.mean(before[name]):.2f} | **{np.mean(after[name]):.2f}**"
        print(f"| {name} | {len(after[name])} | {numbers} | {', '.join(sorted(used[name]))} |")


if __name__ == "__main__":
    main()
