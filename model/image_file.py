"""One image file on the command line: its pixels in, the denoised ones back, and nothing of them lost without a word.

TIFF goes through tifffile, page by page with each page's description (so ImageJ and OME axes stay), NPY through NumPy,
the rest through Pillow. What these cannot keep is refused. The service reads far more (`images/`, which this room
may not use).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from model.errors import ModelError

Pixels = NDArray[Any]
_TIFF = (".tif", ".tiff")
_OVER_4_GB = (1 << 32) - (1 << 25)
_MOST_CHANNELS = 4  # a three-dimensional NPY array with a longer last axis is a stack
_ALPHA = (1, 2)  # associated and not
_JPEG = (6, 7, 34892)
_WRITABLE = {0: "miniswhite", 1: "minisblack", 2: "rgb", 5: "separated"}
_PNG_GRAY = 0
_ORIENTATION = 274


class NotKept(ModelError):
    """The file, or the result, holds something that would be lost."""


@dataclass(frozen=True)
class ImageFile:
    """An image and what goes with it into the result.

    Attributes:
        pixels: (N, H, W, C), as stored.
        alpha: (N, H, W, 1) kept aside, or None.
        photometric: tifffile's name of what the channels mean.
        shape: an NPY array's own shape.
        pages: tifffile's options for each page of a TIFF.
        extras: EXIF, colour profile and resolution, as Pillow names them.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    photometric: str = "minisblack"
    shape: tuple[int, ...] | None = None
    pages: tuple[dict[str, Any], ...] = ()
    extras: dict[str, Any] = field(default_factory=dict)

    def with_pixels(self, pixels: Pixels) -> ImageFile:
        """The same file with other pixels of the same shape and type."""
        return replace(self, pixels=pixels)

    @property
    def orientation(self) -> int:
        """How a viewer turns the picture, by its EXIF block."""
        exif = Image.Exif()
        exif.load(self.extras.get("exif", b""))
        return int(exif.get(_ORIENTATION, 1))

    @property
    def samples(self) -> Pixels:
        """(N, H, W, C) with alpha behind the colours, if there is any."""
        return self.pixels if self.alpha is None else np.concatenate([self.pixels, self.alpha], axis=-1)


def read(path: Path) -> ImageFile:
    """The image in a TIFF, NPY, PNG, JPEG, BMP or WebP file.

    Raises:
        NotKept: the result could not hold what is in the file; the text names the way out.
    """
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return _read_npy(path)
    return _read_tiff(path) if suffix in _TIFF else _read_pillow(path)


def write(path: Path, image: ImageFile) -> None:
    """Save in the format of the path's suffix.

    Raises:
        NotKept: the format cannot hold these pixels.
    """
    suffix = path.suffix.lower()
    if suffix == ".npy":
        samples = image.samples
        np.save(path, samples.reshape(image.shape) if image.shape else _without_ones(samples))
    elif suffix in _TIFF:
        _write_tiff(path, image)
    else:
        _write_pillow(path, image)


# ---- NPY -------------------------------------------------------------------------------------------------------------


def _read_npy(path: Path) -> ImageFile:
    array = np.asarray(np.load(path, allow_pickle=False))
    if array.ndim == 2 or (array.ndim == 3 and array.shape[-1] <= _MOST_CHANNELS):
        return ImageFile(np.atleast_3d(array)[None], shape=array.shape)
    if array.ndim in (3, 4):
        return ImageFile(array if array.ndim == 4 else array[..., None], shape=array.shape)
    raise NotKept(f"{path.name} has {array.ndim} axes: save (H, W), (H, W, C <= 4), (N, H, W) or (N, H, W, C)")


def _without_ones(samples: Pixels) -> Pixels:
    """(N, H, W, C) without the axes for frames and channels where there is one of them."""
    samples = samples[0] if len(samples) == 1 else samples
    return samples[..., 0] if samples.shape[-1] == 1 else samples


# ---- TIFF ------------------------------------------------------------------------------------------------------------


def _read_tiff(path: Path) -> ImageFile:
    with tifffile.TiffFile(path) as file:
        pages = [page.aspage() for page in file.pages]
        first = pages[0]
        photometric = _photometric(path, first)
        _check_pages(path, file, pages)
        samples = np.stack([_planes(page) for page in pages])
        alpha = len(first.extrasamples) == 1 and int(first.extrasamples[0]) in _ALPHA
        return ImageFile(
            pixels=samples[..., :-1] if alpha else samples,
            alpha=samples[..., -1:] if alpha else None,
            photometric=photometric,
            pages=tuple(_options(page, photometric) for page in pages),
        )


def _photometric(path: Path, page: tifffile.TiffPage) -> str:
    """What the samples mean, as the result will say; refused are those that are no amounts of light."""
    code = int(page.photometric)
    if code == 6 and int(page.compression) in _JPEG:  # YCbCr, which the decoder of JPEG turns into RGB
        return "rgb"
    if code not in _WRITABLE:
        name = getattr(page.photometric, "name", str(code))
        raise NotKept(f"{path.name} stores its colours as {name}: save it as RGB or grayscale")
    return _WRITABLE[code]


def _check_pages(path: Path, file: tifffile.TiffFile, pages: list[tifffile.TiffPage]) -> None:
    first = pages[0]
    if any((page.shape, page.dtype, page.axes) != (first.shape, first.dtype, first.axes) for page in pages):
        raise NotKept(f"{path.name} holds pages of different sizes or types: save each as a file")
    if any(page.subifds for page in pages):
        raise NotKept(f"{path.name} holds reduced copies (a pyramid): save it without them")
    if first.axes not in ("YX", "YXS", "SYX"):
        raise NotKept(f"{path.name} stores volumes inside a page: save one slice a page")
    if len(pages) == 1 and len(file.series[0].shape) > len(first.shape):
        raise NotKept(f"{path.name} holds a stack with a directory for its first page only: save one for each page")
    if first.bitspersample not in (8, 16, 32, 64):
        raise NotKept(f"{path.name} has {first.bitspersample} bits a sample: save it with 8, 16 or 32")


def _planes(page: tifffile.TiffPage) -> Pixels:
    """(H, W, S), whatever the page's planar configuration."""
    data = np.asarray(page.asarray())
    return np.moveaxis(data, 0, -1) if page.axes == "SYX" else np.atleast_3d(data)


def _options(page: tifffile.TiffPage, photometric: str) -> dict[str, Any]:
    return {
        "photometric": photometric,
        "planarconfig": None if page.axes == "YX" else "separate" if page.axes == "SYX" else "contig",
        "extrasamples": page.extrasamples or None,
        "compression": None if page.compression == 1 else "zlib",
        "description": page.description.encode() or None,
        "resolution": page.resolution,
        "resolutionunit": page.resolutionunit,
        "iccprofile": page.iccprofile,
        "extratags": _turned(int(page.tags.valueof(_ORIENTATION, 1))),
    }


def _turned(orientation: int) -> list[tuple[Any, ...]]:
    """The tag that turns a picture in a viewer, as tifffile takes it."""
    return [(_ORIENTATION, 3, 1, orientation, False)] if orientation != 1 else []


def _write_tiff(path: Path, image: ImageFile) -> None:
    samples = image.samples
    colours = {"rgb": 3, "separated": 4}.get(image.photometric, 1)
    extra = (0,) * (image.pixels.shape[-1] - colours) + ((2,) if image.alpha is not None else ())
    foreign: dict[str, Any] = {
        "photometric": image.photometric,
        "planarconfig": "contig" if samples.shape[-1] > 1 else None,
        "extrasamples": extra or None,
        "iccprofile": image.extras.get("icc_profile"),
        "extratags": _turned(image.orientation),
    }
    with tifffile.TiffWriter(path, bigtiff=samples.nbytes > _OVER_4_GB) as writer:
        for index, page in enumerate(samples):
            options = image.pages[index] if image.pages else foreign
            if options["planarconfig"] == "separate":
                page = np.moveaxis(page, -1, 0)
            elif options["planarconfig"] is None:
                page = page[..., 0]
            writer.write(np.ascontiguousarray(page), metadata=None, software=False, **options)


# ---- Pillow ----------------------------------------------------------------------------------------------------------


def _read_pillow(path: Path) -> ImageFile:
    with Image.open(path) as image:
        if getattr(image, "is_animated", False) and image.format != "MPO":  # a phone's MPO shows its first picture
            raise NotKept(f"{path.name} holds several frames: save each as a file")
        if image.format == "PNG":
            _check_png(path)
        extras = {name: image.info[name] for name in ("exif", "icc_profile", "dpi") if image.info.get(name)}
        samples = np.asarray(_expanded(path, image))
    samples = np.atleast_3d(samples)[None]
    alpha = samples.shape[-1] in (2, 4)
    return ImageFile(
        pixels=samples[..., :-1] if alpha else samples,
        alpha=samples[..., -1:] if alpha else None,
        photometric="rgb" if samples.shape[-1] > 2 else "minisblack",
        extras=extras,
    )


def _check_png(path: Path) -> None:
    """Pillow reads colours of 16 bit as 8 bit, and says nothing. IHDR is a PNG's first chunk."""
    with path.open("rb") as file:
        depth, colour = file.read(26)[24:]
    if depth == 16 and colour != _PNG_GRAY:
        raise NotKept(f"{path.name} is a PNG of 16-bit colours, which Pillow reads with 8: save it as TIFF")


def _expanded(path: Path, image: Image.Image) -> Image.Image:
    """Palettes and bilevel images in full, a transparent colour as alpha."""
    see_through = "transparency" in image.info
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if see_through or image.mode == "PA" else "RGB")
    if image.mode in ("1", "L", "RGB"):
        gray = image.mode != "RGB"
        return image.convert(("LA" if gray else "RGBA") if see_through else ("L" if gray else "RGB"))
    if image.mode in ("LA", "RGBA") or (image.mode == "I;16" and not see_through):
        return image
    raise NotKept(f"{path.name} has colours of mode {image.mode}: save it as RGB, grayscale or TIFF")


def _write_pillow(path: Path, image: ImageFile) -> None:
    suffix, samples = path.suffix.lower(), image.samples
    deep_gray = samples.dtype == np.uint16 and samples.shape[-1] == 1 and suffix == ".png"
    named = image.photometric in ("minisblack", "rgb") and samples.shape[-1] <= 4
    if len(samples) > 1 or not named or not (samples.dtype == np.uint8 or deep_gray):
        raise NotKept(f"{suffix} cannot hold {samples.dtype} pixels of shape {samples.shape}: write a .tif instead")
    if image.alpha is not None and suffix in (".jpg", ".jpeg"):
        raise NotKept("JPEG has no transparency: write a .png or .tif instead")
    Image.fromarray(_without_ones(samples)).save(path, **image.extras)
