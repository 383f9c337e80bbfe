"""Cut a region of interest out of a decoded image."""

from __future__ import annotations

from dataclasses import replace

from images.decoded import Decoded
from worker.errors import Refused


def crop(decoded: Decoded, roi: str) -> Decoded:
    """The part `x,y,width,height` (pixels as stored, from the top left) of every frame.

    Raises:
        Refused: the region does not lie inside the image.
    """
    x, y, width, height = (int(part) for part in roi.split(","))
    info = decoded.info
    if x + width > info.width or y + height > info.height or width < 1 or height < 1:
        raise Refused(
            "roi_outside_image",
            f"The roi {roi} does not lie inside the image of {info.width} x {info.height} pixels; "
            "give x,y,width,height within it.",
        )
    rows, columns = slice(y, y + height), slice(x, x + width)
    return replace(
        decoded,
        pixels=decoded.pixels[:, rows, columns],
        alpha=None if decoded.alpha is None else decoded.alpha[:, rows, columns],
        exact=None if decoded.exact is None else decoded.exact[:, rows, columns],
        info=replace(info, width=width, height=height),
    )
