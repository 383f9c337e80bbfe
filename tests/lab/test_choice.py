"""Which base model `python -m lab` takes: the one that the service takes for the same pixels."""

import numpy as np
import pytest
from scipy import ndimage
from skimage import data

from lab.choice import Denoisers
from model import Denoiser
from model.arrays.missing import find
from model.noise.noise_kind import of_stack


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    """Noise that neighbouring pixels share, on a photograph (H, W, 3) of floats."""
    rng = np.random.default_rng(0)
    shared = ndimage.gaussian_filter(rng.normal(size=(512, 512, 3)), (0.8, 0.8, 0))
    return (data.astronaut() / 255 * 0.8 + 0.1 + 0.08 * shared / shared.std()).astype(np.float32)


def test_gaps_do_not_change_the_choice(photograph: np.ndarray) -> None:
    with_gap = photograph.copy()
    with_gap[100:140, 100:140] = np.nan
    assert Denoisers(None, "cpu").for_pixels(photograph).name == "base-camera"
    assert Denoisers(None, "cpu").for_pixels(with_gap).name == "base-camera"


def test_a_kind_of_noise_that_is_known_is_not_measured_again(photograph: np.ndarray) -> None:
    small = photograph[:96, :96]
    base = Denoiser.load("base-rgb", "cpu")
    kind = of_stack(small[None], find(small[None]))
    _, told = base.denoise_with_report(small)
    _, told_again = base.denoise_with_report(small, kind=kind)
    assert told is not None and told == told_again
