"""This service's models beside other denoisers, on the same noisy images and in the same run.

    pip install --no-deps --target PEERS bm3d bm4d PyWavelets
    PYTHONPATH=PEERS python -m benchmarks.peers photographs --data DIR
    PYTHONPATH=PEERS python -m benchmarks.peers microscopy --data DIR --set w2s-0 --python N2V/bin/python

`photographs`: DIR/clean/set12 at PG1 and PG3, scored by the paper's protocol. All but ours are told the true noise.
`microscopy`: fields of DIR/real/w2s, scored as `benchmarks.finetune` does. BM3D is told the noise that `base-gray`
estimates; Noise2Void learns from the noisy fields that our fine-tune learns from, in CAREamics, which needs a Python of
its own (`--python`; without it that row is left out): see `benchmarks.peers_n2v`.

Times are CPU seconds of one thread, so other processes do not count, but a shared cache does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.stats import poisson
from skimage import restoration

from benchmarks.finetune import Case, tuned_denoiser, w2s
from lab.evaluate import against_clean, fit_affine
from model.arrays import normalise
from model.finetuning.finetune import FineTuneConfig, FineTuner
from model.inference.denoiser import Denoiser
from model.noise.poisson_gaussian import LEVELS

Floats = NDArray[np.float64]
Way = Callable[[NDArray[Any]], NDArray[Any]]
White = Callable[[Floats, float], Floats]

TV_WEIGHT = 0.8  # in noise stds; of 0.4, 0.5 … 1.0 on eight images of train400, 0.7 was best at PG1 and 0.9 at PG3
TABLE_POINTS = 512  # of the mean of the transformed signal
PANEL, ZOOM = 144, 2  # side of a picture's crop in pixels, and how many times it is enlarged


@dataclass
class Peer:
    """A denoiser of gray images with the face that `against_clean` and `finetune` expect; counts its CPU time.

    Attributes:
        way: (H, W) in, (H, W) out, in the same units.
        measured: CPU seconds a megapixel, where `way` only looks up what another process did.
        seconds: CPU seconds, all threads.
        results: what came out, in order.
    """

    name: str
    way: Way
    channels: int = 1
    measured: float | None = None
    seconds: float = 0.0
    pixels: int = 0
    results: list[NDArray[Any]] = field(default_factory=list)

    def denoise(self, image: NDArray[Any], normalize: str = "") -> NDArray[Any]:
        """As `Denoiser.denoise` for one gray plane: same shape and type. `way` knows how to normalise."""
        started = time.process_time()
        found = self.way(image.reshape(image.shape[:2]))
        self.seconds += time.process_time() - started
        self.pixels += image.size
        if image.dtype.kind == "u":
            found = np.clip(np.rint(found), 0, np.iinfo(image.dtype).max)
        self.results.append(found.astype(image.dtype))
        return self.results[-1].reshape(image.shape)

    @property
    def per_megapixel(self) -> float:
        """CPU seconds."""
        return self.seconds / self.pixels * 1e6 if self.measured is None else self.measured


@dataclass(frozen=True)
class Anscombe:
    """The generalised Anscombe transform G and its exact unbiased inverse, which undoes E[G(y)|x], not G.

    Mäkitalo and Foi, "Optimal Inversion of the Generalized Anscombe Transformation for Poisson-Gaussian Noise", IEEE
    TIP 2013, where the inverse is tabulated; here the table is computed, for the image at hand.

    Attributes:
        alpha, sigma, black: Var[y|x] = α·(x − black) + σ², in the units of y.
    """

    alpha: float
    sigma: float
    black: float = 0.0

    def forward(self, noisy: NDArray[Any]) -> Floats:
        """G(y); its noise has a std close to 1."""
        return self._root((noisy.astype(np.float64) - self.black) / self.alpha)

    def inverse(self, transformed: Floats) -> Floats:
        """The x whose E[G(y)|x] is given; black where there is none so small."""
        top = float(transformed.max() / 2) ** 2 + 2
        signal = np.linspace(0, np.sqrt(top), TABLE_POINTS) ** 2  # photons; dense where G bends
        photons = np.arange(np.ceil(top + 8 * np.sqrt(top) + 8))
        nodes, weights = np.polynomial.hermite_e.hermegauss(63)
        read = photons[:, None] + self.sigma / self.alpha * nodes
        given_photons = self._root(read) @ (weights / weights.sum())
        means = poisson.pmf(photons, signal[:, None]) @ given_photons
        return np.interp(transformed, means, signal) * self.alpha + self.black

    def _root(self, photons: Floats) -> Floats:
        return 2 * np.sqrt(np.maximum(photons + 0.375 + (self.sigma / self.alpha) ** 2, 0))


def stabilised(white: White, noise: Anscombe, noisy: NDArray[Any]) -> Floats:
    """Denoise by a method for white noise, between transform and inverse.

    Args:
        white: takes an image in [0, 1] and the std of its noise.
    """
    transformed = noise.forward(noisy)
    low, spread = transformed.min(), np.ptp(transformed)
    return noise.inverse(white((transformed - low) / spread, 1 / spread) * spread + low)


def bm3d(image: Floats, sigma: float) -> Floats:
    """BM3D with its authors' default profile, on one thread.

    Raises:
        SystemExit: not installed.
    """
    try:
        package = import_module("bm3d")
    except ImportError:
        raise SystemExit("BM3D is missing: pip install --no-deps --target PEERS bm3d bm4d; PYTHONPATH=PEERS") from None
    profile = package.BM3DProfile()
    profile.num_threads = 1
    return np.asarray(package.bm3d(image, sigma, profile))


def non_local_means(image: Floats, sigma: float) -> Floats:
    """With the settings of scikit-image's example that scores best there."""
    return restoration.denoise_nl_means(
        image, h=0.6 * sigma, sigma=sigma, fast_mode=True, patch_size=5, patch_distance=6
    )


def wavelets(image: Floats, sigma: float) -> Floats:
    """BayesShrink, otherwise scikit-image's defaults. Needs PyWavelets."""
    return restoration.denoise_wavelet(image, sigma=sigma, method="BayesShrink", rescale_sigma=True)


def total_variation(image: Floats, sigma: float) -> Floats:
    return restoration.denoise_tv_chambolle(image, weight=TV_WEIGHT * sigma, max_num_iter=500)


WHITE: dict[str, White] = {
    "BM3D": bm3d, "non-local means": non_local_means, "total variation": total_variation, "wavelets": wavelets,
}  # fmt: skip


def photographs(data: Path) -> None:
    """PSNR in dB and SSIM on Set12, told the true noise, and times ours."""
    ours = Denoiser.load("base-gray", device="cpu")
    levels = ("PG1", "PG3")
    rows: dict[str, list[str]] = {}
    times: dict[str, list[float]] = {}
    for level in levels:
        noise = Anscombe(LEVELS[level].alpha, LEVELS[level].sigma)
        peers = [Peer("ours, base-gray, blind", partial(ours.denoise, normalize="none"))]
        peers += [Peer(f"{name}, told the noise", partial(stabilised, way, noise)) for name, way in WHITE.items()]
        for peer in peers:
            peer.way(np.full((64, 64), 0.5, np.float32) + np.eye(64, dtype=np.float32) / 8)  # what is loaded once
            score = against_clean(peer, data / "clean/set12", level)  # type: ignore[arg-type]
            rows.setdefault(peer.name, []).append(f"{score.psnr:.2f} / {score.ssim:.3f}")
            times.setdefault(peer.name, []).append(peer.per_megapixel)
            print(f"{level} {peer.name}: {rows[peer.name][-1]}, {peer.per_megapixel:.2f} s/megapixel", flush=True)
    print(f"\n| Set12 | {' | '.join(levels)} | CPU s/megapixel | times ours |\n|---|{'---|' * (len(levels) + 2)}")
    unit = np.mean(next(iter(times.values())))
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells)} | {np.mean(times[name]):.2f} | {np.mean(times[name]) / unit:.1f} |")


@dataclass
class Comparison:
    """Peers on one set of microscopy, printed row by row."""

    case: Case
    peers: list[Peer] = field(default_factory=list)
    base: list[float] = field(default_factory=list)

    def score(self, peer: Peer, learning: str = "") -> None:
        """Denoise the test fields and print a row; the first peer is what the others are compared with.

        Args:
            learning: CPU minutes and steps of a training, for the row.
        """
        found = self.case.score(peer)  # type: ignore[arg-type]
        self.base = self.base or found
        self.peers.append(peer)
        gains = np.array(found) - np.array(self.base)
        timed = peer.per_megapixel / self.peers[0].per_megapixel
        print(f"| {peer.name} | {np.mean(found):.2f} | {gains.mean():+.2f} ({gains.min():+.2f} … {gains.max():+.2f}) "
              f"| {learning} | {timed:.1f} |", flush=True)  # fmt: skip


def microscopy(options: argparse.Namespace) -> None:
    """Affine-fitted PSNR in dB of five fields of w2s, what it cost to learn, and times ours."""
    case = w2s(options.data, int(options.set.removeprefix("w2s-")))
    base = Denoiser.load("base-gray", device="cpu")
    print(f"| {options.set} | PSNR | against base (least … most) | learning: CPU min, steps | times ours |\n"
          "|---|---|---|---|---|")  # fmt: skip
    table = Comparison(case)
    base.denoise(case.test[0])  # what is loaded once
    table.score(Peer("ours, base-gray", base.denoise))
    table.score(Peer("noisy", lambda noisy: noisy))
    table.score(Peer("BM3D, told our estimate of the noise", partial(estimated_bm3d, base)))
    tuned, spent, steps = fine_tuned(case, options.minutes)
    table.score(Peer("ours, fine-tuned", tuned.denoise), f"{spent:.1f}, {steps}")
    if options.python:
        for peer, learning in noise2void(case, options.python, [spent, *options.longer]):
            table.score(peer, learning)
    if options.picture:
        draw(table, options.picture)


def estimated_bm3d(base: Denoiser, noisy: NDArray[Any]) -> Floats:
    """BM3D with the noise that the report of `base` tells of this image."""
    report = base.denoise_with_report(noisy)[1]
    assert report is not None
    scaling = normalise.choose(noisy, "auto")
    noise = Anscombe(report.alpha, report.sigma, report.noise_curve["black"])
    return stabilised(bm3d, noise, scaling.to_unit(noisy)) * scaling.scale + scaling.offset


def fine_tuned(case: Case, minutes: float) -> tuple[Denoiser, float, int]:
    """Our fine-tune as the service makes it: the model, CPU minutes and steps.

    Args:
        minutes: of wall time.
    """
    started = time.process_time()
    tuner = FineTuner(FineTuneConfig("base-gray", 1, max_minutes=minutes, threads=1), case.training)
    tuner.run()
    spent = (time.process_time() - started) / 60
    return tuned_denoiser(tuner, tuner.best_network()), spent, tuner.trainer.step


def noise2void(case: Case, python: Path, minutes: list[float]) -> Iterator[tuple[Peer, str]]:
    """Noise2Void after so many CPU minutes each, all of one training, and what it cost."""
    script = Path(__file__).with_name("peers_n2v.py")
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "in.npz", training=np.concatenate(case.training), test=np.stack(case.test))
        command = [str(python), str(script), folder, *map(str, minutes)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found = json.loads((Path(folder) / "out.json").read_text())
        results = np.load(Path(folder) / "out.npz")["results"]
    for mark, images in zip(found["marks"], results, strict=True):
        each = iter(images)
        peer = Peer("CAREamics' Noise2Void", lambda _, each=each: next(each), measured=found["seconds_per_megapixel"])
        yield peer, f"{mark['minutes']:.1f}, {mark['steps']}"
    print(found["versions"], flush=True)


def draw(table: Comparison, path: Path) -> None:
    """A crop of the first test field by every peer, fitted to the reference and windowed alike."""
    truth = table.case.truth[0]
    top, left = _busiest(truth)
    crop = (slice(top, top + PANEL), slice(left, left + PANEL))
    low, high = np.percentile(truth[crop], (0.5, 99.8))
    panels = [(peer.name, fit_affine(peer.results[0].astype(np.float32), truth)) for peer in table.peers]
    side = PANEL * ZOOM
    sheet = Image.new("L", (4 * (side + 4), (side + 18) * -(-(len(panels) + 1) // 4)), 255)
    for index, (name, image) in enumerate([*panels, ("mean of 400 frames", truth)]):
        gray = np.clip((image[crop] - low) / (high - low), 0, 1) * 255
        x, y = index % 4 * (side + 4), index // 4 * (side + 18)
        sheet.paste(Image.fromarray(gray.astype(np.uint8)).resize((side, side), Image.Resampling.NEAREST), (x, y + 16))
        ImageDraw.Draw(sheet).text((x + 2, y + 2), name, fill=0)
    sheet.save(path, optimize=True)


def _busiest(image: NDArray[Any]) -> tuple[int, int]:
    """Top left corner of the crop with the largest std."""
    corners = [(r, c) for r in range(0, image.shape[0] - PANEL, 24) for c in range(0, image.shape[1] - PANEL, 24)]
    return max(corners, key=lambda at: float(image[at[0] : at[0] + PANEL, at[1] : at[1] + PANEL].std()))


def versions() -> str:
    """Of what is compared and runs in this process."""
    found = []
    for package in ("bm3d", "bm4d", "scikit-image", "PyWavelets", "torch", "ncnn", "numpy"):
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            found.append(f"no {package}")
    return ", ".join(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("photographs", "microscopy"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", default="w2s-0", help="w2s-0, w2s-1 or w2s-2")
    parser.add_argument("--minutes", type=float, default=3.0, help="wall time of our fine-tune")
    parser.add_argument("--longer", type=float, nargs="*", default=[10.0], help="more CPU minutes for Noise2Void")
    parser.add_argument("--python", type=Path, help="a Python that has careamics")
    parser.add_argument("--picture", type=Path, help="draw a crop by every method to this PNG")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(versions(), flush=True)
    if options.what == "photographs":
        photographs(options.data)
    else:
        microscopy(options)


if __name__ == "__main__":
    main()
