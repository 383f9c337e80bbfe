"""Suffixes of file names: which kind of file each promises, and what an upload of that name comes back as."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

OutputFormat = Literal["png", "jpeg", "webp", "tiff"]
"""Formats that any image can be asked for in, `output_format`."""

PNG, JPEG, WEBP, TIFF = "image/png", "image/jpeg", "image/webp", "image/tiff"
DNG = "image/x-adobe-dng"

_NAMES = {
    PNG: ".png .apng",
    JPEG: ".jpg .jpeg .jpe .jfif",
    WEBP: ".webp",
    TIFF: ".tif .tiff .btf",
    "image/bmp": ".bmp",
    "image/avif": ".avif",
    "image/heic": ".heic .heif .hif",
    "application/dicom": ".dcm",
    "image/fits": ".fits .fit .fts",
    "application/x-npy": ".npy",
    DNG: ".dng",
}
_RAW = ".nef .nrw .arw .sr2 .pef .srw .kdc .dcr .erf .mef .mos .3fr .fff .iiq .cr2 .cr3 .raf .rw2 .rwl .orf .mrw"

MEDIA_TYPE = {suffix: media_type for media_type, suffixes in _NAMES.items() for suffix in suffixes.split()}
"""What a result with this suffix has to be."""

SUFFIX = {media_type: suffixes.split()[0] for media_type, suffixes in _NAMES.items()}
"""The usual suffix of a kind of file."""

RESULT_OF = {suffix: suffix for suffix in MEDIA_TYPE} | dict.fromkeys(_RAW.split(), SUFFIX[DNG]) | {".gif": SUFFIX[PNG]}
"""What is taken from a folder, and what each comes back as (docs/formats.md). A file that is named itself is always
sent: the server looks at the content. Not here: `.raw`, which names headless dumps more often than cameras' files.
"""

FORMAT_OF: dict[str, OutputFormat] = {PNG: "png", JPEG: "jpeg", WEBP: "webp", TIFF: "tiff"}
"""The format of a kind of file."""

SUFFIX_OF = {name: SUFFIX[media_type] for media_type, name in FORMAT_OF.items()}
"""The usual suffix of a format."""


def wanted_format(target: Path, source: Path | None, asked: OutputFormat | None = None) -> OutputFormat | None:
    """The `output_format` that makes a result fit the name of its file.

    Args:
        target: where the result goes.
        source: the upload; None where it has no name.
        asked: the format that was asked for by name.

    Returns:
        None where the upload's own format does, or where the name promises nothing.

    Raises:
        ValueError: a file of that name cannot be had, or another format was asked for.
    """
    suffix = target.suffix.lower()
    promised = MEDIA_TYPE.get(suffix)
    format_ = FORMAT_OF.get(promised or "")
    if asked is not None:
        if suffix in RESULT_OF and format_ != asked:
            raise ValueError(f"{target} is no {asked} by its name: call it {target.stem}{SUFFIX_OF[asked]}.")
        return asked
    if format_ is not None or suffix not in RESULT_OF:
        return format_
    own = None if source is None else RESULT_OF.get(source.suffix.lower())
    if promised is None or (own is not None and MEDIA_TYPE[own] != promised):
        others = [f"{target.stem}{other}" for other in dict.fromkeys([own or ".dng", *SUFFIX_OF.values()])]
        raise ValueError(f"{target} cannot be made of {source or 'this'}: call it {', '.join(others)}.")
    return None


def contradicts(path: Path, media_type: str) -> bool:
    """Whether a file of this name is another kind of file by its suffix."""
    return path.suffix.lower() in RESULT_OF and MEDIA_TYPE.get(path.suffix.lower()) != media_type


def fitting(path: Path, media_type: str) -> Path:
    """The path; with a second suffix where the first is that of another kind of file, as `scan.avif.png`."""
    right = SUFFIX.get(media_type)
    return path.with_name(path.name + right) if right is not None and contradicts(path, media_type) else path
