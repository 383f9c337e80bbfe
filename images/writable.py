"""Whether a result can be written as it is wished, told from the header: before the work, and by the writer again."""

from __future__ import annotations

from dataclasses import replace

from images.errors import UnsupportedFormat
from images.formats import FORMATS
from images.info import ImageInfo

_OWN_HEADER = ("dicom", "fits", "dng")
"""Written as the file that came in with other samples, so only for an image of the same kind, metadata and all."""


def require_writable(
    info: ImageInfo,
    output_format: str | None = None,
    metadata: str = "keep",
    cropped: bool = False,
    output_dtype: str | None = None,
) -> None:
    """Refuse a result that the format would hold only with something lost, or that cannot be written at all.

    Args:
        info: the upload.
        output_format: None: the format in which the image comes back.
        metadata: `keep`, `safe` or `none`, as in `images.encode.encode`.
        cropped: whether the result is a part of the image.
        output_dtype: NumPy's name of another sample type than the upload's.

    Raises:
        UnsupportedFormat: naming what to choose instead.
    """
    target = output_format or info.result_format
    if target not in FORMATS or not FORMATS[target].dtypes:
        written = ", ".join(name for name, row in FORMATS.items() if row.dtypes)
        raise UnsupportedFormat(f"{target!r} cannot be written; choose one of {written}.")
    wished = info if output_dtype is None else replace(info, dtype=output_dtype)
    wish = "output_dtype" if output_dtype and not output_format else "output_format"
    _require_samples(wished, target, f"choose tiff, or leave {wish} out.")
    if target not in _OWN_HEADER:
        return
    title = FORMATS[target].title
    if info.result_format != target:
        raise UnsupportedFormat(f"{title} is written for an image that came as {title}; choose tiff.")
    if metadata == "none":
        raise UnsupportedFormat(
            f"{title} is written with its metadata only; choose metadata=keep or safe, or output_format=tiff."
        )
    if cropped and target == "fits":
        raise UnsupportedFormat("FITS is written for a whole FITS image only; choose tiff.")


def _require_samples(info: ImageInfo, target: str, remedy: str) -> None:
    """Sample type, frames, channels and transparency."""
    row = FORMATS[target]
    if info.dtype not in row.dtypes:
        raise UnsupportedFormat(f"{row.title} cannot hold {info.dtype} samples; {remedy}")
    if info.frames > 1 and not row.frames:
        raise UnsupportedFormat(f"{row.title} holds one image, this file has {info.frames}; {remedy}")
    if info.has_alpha and not row.with_alpha:
        raise UnsupportedFormat(f"{row.title} has no transparency; choose png, webp or tiff.")
    if info.channels not in (row.with_alpha if info.has_alpha else row.channels):
        beside = " and transparency" if info.has_alpha else ""
        raise UnsupportedFormat(f"{row.title} cannot hold {info.channels} channels{beside}; {remedy}")
