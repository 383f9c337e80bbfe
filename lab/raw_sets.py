"""Sets of camera RAW mosaics as benchmarks ship them: NPY or MATLAB files of blocks, packed to four channels.

SIDD's blocks (`ValidationNoisyBlocksRaw.mat`, `ValidationGtBlocksRaw.mat`, `BenchmarkNoisyBlocksRaw.mat`) come from
https://abdokamel.github.io/sidd; each holds one array (scenes, blocks, 256, 256), values 0 … 1.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.evaluate import Score, psnr, ssim
from lab.files import NoImages
from model.errors import InvalidArray
from model.inference.denoiser import Denoiser

Array = NDArray[Any]
SUFFIXES = (".npy", ".mat")
CHANNELS = 4  # of a packed mosaic: the sites of a 2×2 cell, row by row


def raw_files(folder: Path) -> list[Path]:
    """The NPY and MATLAB files of a folder, sorted by name.

    Raises:
        NoImages: there are none; the text says where such files come from.
    """
    found = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES) if folder.is_dir() else []
    if not found:
        raise NoImages(
            f"{folder}: no mosaics here; wanted are .npy or .mat files of (H, W), (N, H, W) or (N, M, H, W) arrays, "
            "such as SIDD's blocks (https://abdokamel.github.io/sidd) or those of `python -m benchmarks.simulated_raw`"
        )
    return found


def mosaics(path: Path) -> Iterator[Array]:
    """Every mosaic (H, W) of a file, H and W even, floats as they are and integers by their full scale.

    Raises:
        InvalidArray: no array of mosaics in it.
    """
    array = _of_matlab(path) if path.suffix == ".mat" else np.load(path, mmap_mode="r", allow_pickle=False)
    if array.ndim not in (2, 3, 4) or array.dtype.kind not in "uif" or array.shape[-1] % 2 or array.shape[-2] % 2:
        raise InvalidArray(f"{path.name}: {array.shape} {array.dtype} is no array of mosaics of even sides")
    scale = float(np.iinfo(array.dtype).max) if array.dtype.kind in "ui" else 1.0
    for mosaic in array.reshape(-1, *array.shape[-2:]):
        yield np.asarray(mosaic, np.float32) / np.float32(scale)


def packed(mosaic: Array) -> Array:
    """(H, W) → (4, H/2, W/2): the four sites of the 2×2 cells."""
    return np.stack([mosaic[row::2, column::2] for row in (0, 1) for column in (0, 1)])


def unpacked(planes: Array) -> Array:
    """The reverse of `packed`."""
    _, height, width = planes.shape
    mosaic = np.empty((2 * height, 2 * width), planes.dtype)
    for site, plane in enumerate(planes):
        mosaic[site // 2 :: 2, site % 2 :: 2] = plane
    return mosaic


def read_raw_set(folder: Path) -> list[Array]:
    """Every mosaic of a folder, packed, (4, H/2, W/2) float32.

    Raises:
        NoImages, InvalidArray: as `raw_files` and `mosaics`.
    """
    return [packed(mosaic) for path in raw_files(folder) for mosaic in mosaics(path)]


def against_raw_reference(denoiser: Denoiser, images: Path, reference: Path) -> Score:
    """Score a model of packed mosaics by PSNR and SSIM of the mosaics, cut to 0 … 1, peak 1, not rounded (SIDD's way).

    Files pair by name; where each folder has one file, these pair whatever they are called.

    Raises:
        NoImages, InvalidArray: as `raw_files` and `mosaics`, or a pair's shapes differ.
    """
    scores, seconds = [], 0.0
    for noisy_file, clean_file in _pairs(raw_files(images), raw_files(reference)):
        for noisy, clean in zip(mosaics(noisy_file), mosaics(clean_file), strict=True):
            if noisy.shape != clean.shape:
                raise InvalidArray(f"{noisy_file.name}: {noisy.shape} here, {clean.shape} in the reference")
            begun = time.perf_counter()
            planes = denoiser.denoise(packed(noisy).transpose(1, 2, 0), normalize="none").transpose(2, 0, 1)
            seconds += time.perf_counter() - begun
            found, truth = (np.clip(unpacked(planes), 0, 1).astype(np.float64), clean.astype(np.float64))
            scores.append((psnr(found, truth, 1.0), ssim(found[None], truth[None], 1.0)))
    means = np.mean(scores, axis=0)
    return Score(float(means[0]), float(means[1]), len(scores), seconds)


def _pairs(noisy: list[Path], clean: list[Path]) -> list[tuple[Path, Path]]:
    if len(noisy) == len(clean) == 1:
        return [(noisy[0], clean[0])]
    by_stem = {path.stem: path for path in clean}
    pairs = [(path, by_stem[path.stem]) for path in noisy if path.stem in by_stem]
    if not pairs:
        raise InvalidArray("no file of mosaics has a reference of the same name")
    return pairs


def _of_matlab(path: Path) -> Array:
    """The largest array of a MATLAB file (version 5 to 7.2)."""
    try:
        from scipy.io import loadmat
    except ImportError:
        raise InvalidArray(f"{path.name}: MATLAB files need `pip install scipy`; or save the array as .npy") from None
    arrays = [value for value in loadmat(path).values() if isinstance(value, np.ndarray)]
    if not arrays:
        raise InvalidArray(f"{path.name}: no array in it")
    return max(arrays, key=lambda array: array.size)
