"""Arrays to TIFF bytes and back. TIFF because it alone keeps any depth, channel count and stack exactly."""

from __future__ import annotations

import io
import math
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .types import Options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DTYPES = (
    *("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "float64"),
)
"""What the service reads and gives back; of 64-bit integers, those whose values fit 32 bit."""


def as_body(image: NDArray[Any] | str | Path) -> bytes | Path:
    """What to upload: the path itself, or the array as a TIFF.

    Raises:
        ValueError: an array of a shape or type that the service does not take.
        FileNotFoundError: no such file.
    """
    if isinstance(image, str | Path):
        path = Path(image)
        if not path.is_file():
            raise FileNotFoundError(f"There is no file {path}.")
        return path
    return to_tiff(image)


def to_tiff(array: NDArray[Any]) -> bytes:
    """An array (H, W), (H, W, C) or (N, H, W, C) as an uncompressed TIFF, a page per N."""
    require_libraries()
    import numpy as np
    import tifffile

    if array.dtype.name not in DTYPES:
        raise ValueError(f"arrays of type {array.dtype} are not taken; use one of {', '.join(DTYPES)}")
    if array.ndim not in (2, 3, 4) or array.size == 0:
        raise ValueError(f"shape {array.shape} is none of (H, W), (H, W, C), (N, H, W, C), or it is empty")
    pages = array if array.ndim == 4 else array[np.newaxis]
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for page in pages:
            _write_page(writer, page)
    return buffer.getvalue()


def exact(options: Options) -> Options:
    """Options for a result that becomes an array: TIFF, whatever was uploaded.

    Raises:
        ValueError: another format was asked for.
        ModuleNotFoundError: nothing here makes arrays of files.
    """
    require_libraries()  # before the upload: whoever gives a path gets an array too
    if options.get("output_format", "tiff") != "tiff":
        raise ValueError("an array has no output_format; use denoise_file to get a file of that format")
    return {**options, "output_format": "tiff"}


def as_result(data: bytes, image: object) -> NDArray[Any]:
    """The array in a TIFF. If `image` is an array: with its axes, since TIFF forgets those of length 1, and height and
    width of the result, which a `roi` makes smaller.
    """
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        array: NDArray[Any] = file.asarray()
        height, width = file.pages.first.imagelength, file.pages.first.imagewidth
    given: tuple[int, ...] | None = getattr(image, "shape", None)
    if given is None:
        return array
    rows = 1 if len(given) == 4 else 0
    shape = (*given[:rows], height, width, *given[rows + 2 :])
    return array.reshape(shape) if math.prod(shape) == array.size else array


def require_libraries() -> None:
    """Raises ModuleNotFoundError with the remedy where arrays cannot be read and written."""
    if missing := [name for name in ("numpy", "tifffile") if find_spec(name) is None]:
        raise ModuleNotFoundError(
            f"Arrays need {' and '.join(missing)}: pip install 'b2s-client[arrays]'. `denoise_file` needs neither."
        )


def _write_page(writer: Any, page: NDArray[np.generic]) -> None:
    color = page.ndim == 3 and page.shape[2] == 3
    options = {"planarconfig": "contig"} if page.ndim == 3 and page.shape[2] > 1 else {}
    if page.ndim == 3 and page.shape[2] == 1:
        page = page[:, :, 0]
    writer.write(page, photometric="rgb" if color else "minisblack", metadata=None, contiguous=False, **options)
