"""What the report tells of an image beside its noise line: pixels that measured nothing, noise that is not independent.

The kind of noise is measured on the image and on the result, not on their difference: what was not taken out is not in
that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.arrays.missing import Mask, Missing
from model.noise import noise_kind, noise_words
from model.noise.noise_kind import NoiseKind
from model.noise.noise_level import NoiseLevel
from model.report.layout import SAME, Layout
from model.report.regions import Regions
from model.report.report import Report

SAID = 5e-6  # share of the pixels below which missing ones are told in the numbers alone


@dataclass
class Findings:
    """Gathered page by page.

    Args:
        missing: which pixels measure nothing.
        pages: of the stack; the kind of noise is measured on the middle one.
        one_intensity: whether all channels are denoised by the one intensity that they follow.
        correlated: whether the model was trained on noise that neighbouring pixels share.
        layout: how places are named.
        kind: of the noise of the middle page, if it was measured before.
    """

    missing: Missing
    pages: int
    one_intensity: bool = False
    correlated: bool = False
    layout: Layout = SAME
    kind: NoiseKind | None = None
    _missing: int = 0
    _values: int = 0
    _kinds: list[NoiseKind] = field(default_factory=list)
    _regions: Regions = field(init=False)

    def __post_init__(self) -> None:
        self._regions = Regions(self.layout)

    def add(
        self,
        index: int,
        noisy: NDArray[Any],
        without: NDArray[Any],
        result: NDArray[Any],
        gaps: Mask | None,
        noise: Sequence[Sequence[NoiseLevel]],
    ) -> None:
        """A page and its result (H, W, C), missing pixels filled in the first; without its lines; and its noise."""
        self._regions.add(index, without, result, gaps, noise)
        self._values += noisy.size
        self._missing += 0 if gaps is None else int(np.count_nonzero(gaps))
        if index == self.pages // 2:
            if gaps is not None:
                result = np.where(gaps, noisy, result)
            self._kinds = [self.kind or noise_kind.measure(noisy, gaps), noise_kind.measure(result, gaps)]

    def told(self, report: Report) -> Report:
        """The report with what was found."""
        share = self._missing / max(1, self._values)
        before, after = self._kinds
        cared_for = {"equal_channels": self.one_intensity, "correlated": self.correlated, "jpeg": self.correlated}
        of_kind = noise_words.warnings(
            before, after, [name for name, is_so in cared_for.items() if is_so], self.layout.step
        )
        said = [*self._regions.warnings(), *self._of_missing(share), *of_kind]
        return replace(
            report,
            missing_share=float(f"{share:.6g}"),
            noise_kind=noise_words.describe(before, after, self.layout.step),
            regions=[one.to_dict() for one in self._regions.named()],
            warnings=[*said, *report.warnings],
        )

    def _of_missing(self, share: float) -> list[str]:
        if share <= SAID or not self.missing.found:
            return []
        values = ", ".join(f"{value:.10g}" for value in self.missing.values)
        what = f"marked by {values}" if values else "NaN or infinite"
        return [
            f"{100 * share:.2g} % of the pixels measured nothing ({what}): they take part in nothing, and come back as "
            "they were"
        ]
