"""Loads all that decoding any file may need: a helper is forked after this, and can open nothing any more."""

from __future__ import annotations

import encodings
import pkgutil
from contextlib import suppress
from importlib import import_module

_PACKAGES = ("images.codecs", "images.headers", "pydicom.pixels.decoders")
_IMAGECODECS = ("apng", "avif", "jpeg2k", "jpeg8", "jpegls", "jpegsof3", "png", "webp")
_USED_LATE = (
    *(
        "images.archive",
        "images.decode",
        "zipfile",
        "tarfile",
        "unicodedata",
        "xml.etree.ElementTree",
        "xml.dom.minidom",
    ),
    *(f"numpy.{name}" for name in ("char", "fft", "ma", "polynomial", "random", "rec", "strings")),
    *("PIL.ImageFilter", "PIL.features", "colorsys", "pydicom.charset", "pydicom.overlays", "pprint"),
    *("tifffile._imagecodecs", "tifffile.geodb"),
)

_PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c6360"
    "64620600000e0007d76fe4780000000049454e44ae426082"
)
"""A PNG of one pixel."""


def touch() -> None:
    """Decode something of our own: a fork copies most of the pages that any file needs, and may do so ahead of time."""
    import pickle  # nosec B403  # our own, written and read here

    from images.decode import decode_stored

    decoded = decode_stored(_PIXEL)
    pickle.loads(pickle.dumps((decoded.info, decoded.metadata)))  # nosec B301


def load() -> None:
    """Import every parser and codec, and what these load only once they need it; no thread is started, now or later."""
    for name in _PACKAGES:
        for module in pkgutil.iter_modules(import_module(name).__path__):
            import_module(f"{name}.{module.name}")
    for name in _USED_LATE:
        import_module(name)
    for codec in pkgutil.iter_modules(encodings.__path__):
        with suppress(ImportError):  # those of Windows
            import_module(f"encodings.{codec.name}")
    _load_libraries()


def _load_libraries() -> None:
    """What the libraries of the codecs look up by name, and how many threads they may take."""
    import imagecodecs
    import pillow_heif
    import tifffile
    from PIL import AvifImagePlugin, Image

    Image.init()
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    pillow_heif.options.DECODE_THREADS = 0  # 1 would be one beside the first
    for name in _IMAGECODECS:
        getattr(imagecodecs, f"{name}_decode")
    for table, keys in (
        (tifffile.TIFF.DECOMPRESSORS, tifffile.COMPRESSION),
        (tifffile.TIFF.UNPREDICTORS, tifffile.PREDICTOR),
    ):
        for key in keys:
            with suppress(KeyError):  # a scheme without a decoder
                table[key]
