"""Coverage-guided fuzzing of probe, decode and encode, in one process: `python -m tests.fuzz.fuzz_images [CORPUS ...]`.

Needs atheris (`pip install atheris`; not part of the development lock, since few platforms have wheels). Seeds are
made here, one or more a format, and written to the first corpus folder given; libFuzzer's options pass through, e.g.
`-max_total_time=3600 -rss_limit_mb=4096 -timeout=20`. Anything but an `ImageError` is a finding. Python code is
instrumented; crashes, hangs and leaks of the C codecs are seen as such, though without their coverage.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
import sys
from pathlib import Path

import atheris

_TABLES = ["pydicom._dicom_dict", "pydicom._private_dict", "pydicom._uid_dict", "pydicom.sr"]  # minutes, for nothing
with atheris.instrument_imports(include=["images", "tifffile", "pydicom"], exclude=_TABLES):
    import images.codecs
    import images.headers

    for package in (images.headers, images.codecs):  # loaded on demand otherwise, and then without instruments
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")
    from images.decode import decode_here
    from images.encode import encode
    from images.errors import ImageError
    from images.limits import Limits
    from tests.harness import files

LIMITS = Limits(max_pixels=1 << 20, max_frames=64, max_decoded_bytes=1 << 24, max_metadata_bytes=1 << 20)


def seeds() -> dict[str, bytes]:
    """Small good files of every format."""
    stack = files.noise((3, 9, 8), "uint16")
    made = {
        "rgba16.png": files.png(files.noise((9, 8, 4), "uint16"), (b"tEXt", b"Comment\0x"), (b"eXIf", files.exif())),
        "palette.png": files.png_bits(files.noise((9, 8)) & 15, 4, bytes(48), b"\0\1"),
        "exif.jpg": files.pillow(files.smooth(), "JPEG", exif=b"Exif\0\0" + files.exif(thumbnail=True)),
        "progressive.jpg": files.pillow(files.smooth(), "JPEG", progressive=True),
        "lossless.webp": files.pillow(files.smooth(), "WEBP", lossless=True),
        "lossy.webp": files.pillow(files.smooth(), "WEBP"),
        "a.gif": files.pillow(files.smooth(), "GIF"),
        "a.bmp": files.pillow(files.smooth(), "BMP"),
        "a.avif": files.pillow(files.smooth(), "AVIF"),
        "float.npy": files.npy(files.noise((9, 8), "float32")),
        "short.fits": files.fits(files.noise((9, 8), "int16"), "OBJECT  = 'x'"),
        "a.dcm": files.dicom(files.noise((9, 8), "int16"), PatientName="A^B"),
        "a.dng": files.dng(files.noise((64, 96), "uint16")),
        "a.arw": files.camera_raw(files.noise((64, 96), "uint16")),
        "ome.tif": files.tiff(stack, ome=True, photometric="minisblack"),
        "imagej.tif": files.tiff(stack, imagej=True),
        "tiles.tif": files.tiff(files.noise((33, 40)), tile=(16, 16), compression="lzw", bigtiff=True),
    }
    for compression in ("zlib", "zstd", "packbits", "lzma", "jpeg"):
        made[f"{compression}.tif"] = files.tiff(files.smooth(), photometric="rgb", compression=compression)
    return made


def one_input(data: bytes) -> None:
    """Probe, decode and encode `data`; only an `ImageError` may come of it."""
    try:
        decoded = decode_here(data, LIMITS)
        encode(decoded, decoded.pixels, metadata="safe", note="denoised by the Blind2Sound service, model fuzz")
    except ImageError:
        return


def main() -> None:
    """Write the seeds and hand over to libFuzzer."""
    folders = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    if folders:
        folder = Path(folders[0])
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in seeds().items():
            (folder / name).write_bytes(data)
    logging.disable()  # tifffile tells of every odd tag
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
