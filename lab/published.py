"""Numbers that papers print, to stand beside measured ones: PSNR in dB and SSIM, by Blind2Sound's protocol."""

from __future__ import annotations

from typing import NamedTuple

SOURCE = "Wang et al., Blind2Sound, ICCV 2025 (docs/method.md §5)"


class Published(NamedTuple):
    """PSNR in dB and SSIM."""

    psnr: float
    ssim: float


SCORES: dict[tuple[str, str, str], Published] = {
    ("blind2unblind", "PG1", "BSD68"): Published(30.61, 0.869),
    ("blind2unblind", "PG1", "Set12"): Published(31.45, 0.880),
    ("blind2unblind", "PG1", "Urban100"): Published(30.70, 0.900),
    ("blind2sound", "PG1", "BSD68"): Published(30.83, 0.875),
    ("blind2sound", "PG1", "Set12"): Published(31.68, 0.886),
    ("blind2sound", "PG1", "Urban100"): Published(31.14, 0.908),
    ("blind2unblind", "PG3", "BSD68"): Published(27.02, 0.757),
    ("blind2unblind", "PG3", "Set12"): Published(27.65, 0.796),
    ("blind2unblind", "PG3", "Urban100"): Published(26.54, 0.805),
    ("blind2sound", "PG3", "BSD68"): Published(27.17, 0.766),
    ("blind2sound", "PG3", "Set12"): Published(27.96, 0.805),
    ("blind2sound", "PG3", "Urban100"): Published(26.96, 0.819),
    ("blind2unblind", "PG1", "Kodak"): Published(33.88, 0.915),
    ("blind2unblind", "PG1", "Set14"): Published(32.47, 0.886),
    ("blind2unblind", "PG1", "BSD300"): Published(32.53, 0.913),
    ("blind2sound", "PG1", "Kodak"): Published(34.23, 0.920),
    ("blind2sound", "PG1", "Set14"): Published(32.75, 0.896),
    ("blind2sound", "PG1", "BSD300"): Published(33.00, 0.921),
}
"""By method, noise and set. What no source of ours prints is not here."""

ESTIMATES: dict[str, tuple[float, float]] = {
    "PG1": (0.0101, 6e-6),
    "PG2": (0.0142, 0.0053),
    "PG3": (0.0398, 0.0036),
}
"""α̂ and σ̂ of FBI-Denoiser's PGE-Net, as Blind2Sound reports them."""
