"""What a caller asks of a denoiser beside the array."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from model.arrays.missing import Missing
from model.arrays.normalise import Normalisation
from model.errors import InvalidOption
from model.inference.line_step import LineStep
from model.inference.rounding import BY_PLACE, Rounding
from model.noise.noise_kind import NoiseKind
from model.planes import Scalings
from model.report.layout import SAME, Layout

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a caller asks for beside the array; each field as `Denoiser.denoise_with_report` tells it.

    Raises:
        InvalidOption: `strength` or `tile` outside its range.
    """

    strength: float = 1.0
    normalize: str | Normalisation | Scalings = "auto"
    page_channels: Sequence[int] | None = None
    page_series: Sequence[int] | None = None
    top: int | None = None
    tile: int | None = None
    on_tile: Progress | None = None
    on_page: Progress | None = None
    report: bool = True
    missing: Missing | None = None
    rounding: Rounding = BY_PLACE
    lines: LineStep = field(default_factory=LineStep)
    kind: NoiseKind | None = None
    layout: Layout = SAME

    def __post_init__(self) -> None:
        if not 0.0 <= self.strength <= 1.0:
            raise InvalidOption(f"strength must be between 0 and 1, not {self.strength}")
        if self.tile is not None and self.tile < 1:
            raise InvalidOption(f"tile must be a positive number of pixels, not {self.tile}")
