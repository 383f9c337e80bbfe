"""What report.png needs of a job's pixels: the middle of the image before and after, kept beside the report's numbers.

The picture is drawn when somebody asks for it, which few do; 320 x 320 pixels are copied for it in every job.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.charts import SIDE

Array = NDArray[Any]
NAME = "report.cut"
_KEPT = ("uint8", "uint16")  # sample types that stay; others become float32


@dataclass(frozen=True)
class Cut:
    """The middle of an image, at most SIDE x SIDE pixels; of a stack, of its middle page.

    Attributes:
        before, after: (h, w, 1 or 3), uint8, uint16 or float32, in the file's units. Other numbers of channels are
            shown by their mean.
        shape: (frames, height, width, channels) of the whole image.
        dtype: NumPy's name of its samples' type.
    """

    before: Array
    after: Array
    shape: tuple[int, int, int, int]
    dtype: str

    @classmethod
    def of(cls, noisy: Array, denoised: Array) -> Cut:
        """The middle of (N, H, W, C), (H, W, C) or (H, W), same shape."""
        page = noisy.shape[1:] if noisy.ndim == 4 else noisy.shape
        frames = noisy.shape[0] if noisy.ndim == 4 else 1
        shape = (frames, page[0], page[1], page[2] if len(page) == 3 else 1)
        return cls(_middle(noisy), _middle(denoised), shape, noisy.dtype.name)

    def to_bytes(self) -> bytes:
        """A line of JSON, then the samples of both."""
        about = {
            "shape": self.shape,
            "dtype": self.dtype,
            "parts": [(part.dtype.name, part.shape) for part in (self.before, self.after)],
        }
        return b"".join((json.dumps(about).encode(), b"\n", self.before.tobytes(), self.after.tobytes()))

    @classmethod
    def from_bytes(cls, data: bytes) -> Cut:
        """The inverse of `to_bytes`."""
        line, samples = data.split(b"\n", 1)
        about = json.loads(line)
        parts: list[Array] = []
        for name, shape in about["parts"]:
            part = np.frombuffer(samples, name, count=int(np.prod(shape))).reshape(shape)
            parts.append(part)
            samples = samples[part.nbytes :]
        frames, height, width, channels = about["shape"]
        return cls(parts[0], parts[1], (frames, height, width, channels), about["dtype"])


def _middle(image: Array) -> Array:
    page = image[len(image) // 2] if image.ndim == 4 else image
    page = page[..., None] if page.ndim == 2 else page
    top, left = max(0, (page.shape[0] - SIDE) // 2), max(0, (page.shape[1] - SIDE) // 2)
    window = page[top : top + SIDE, left : left + SIDE]
    if window.shape[2] not in (1, 3):
        return np.asarray(window.mean(axis=2, keepdims=True, dtype=np.float32))
    return window if window.dtype.name in _KEPT else window.astype(np.float32)
