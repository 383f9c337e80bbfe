import io
import math

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage import data

from model.noise import noise_words
from model.noise.noise_kind import NoiseKind, measure

Array = np.ndarray
INDEX = np.arange(256)


def scene(seed: int = 0) -> Array:
    """Smooth blobs between 300 and 900, as cells under a microscope."""
    blobs = ndimage.gaussian_filter(np.random.default_rng(seed).random((256, 256)), 9)
    return 300 + 600 * (blobs - blobs.min()) / np.ptp(blobs)


def noisy(pattern: Array | float = 0.0, sigma: float = 12.0) -> Array:
    noise = np.random.default_rng(1).normal(0, sigma, (256, 256))
    return np.rint(scene() + noise + pattern).astype(np.uint16)


def camera_noise(image: Array, sigma: float) -> Array:
    """A colour photograph (H, W, 3) as a phone makes it: noise upon a colour mosaic, interpolated."""
    rng = np.random.default_rng(2)
    mosaic = rng.normal(0, sigma, image.shape[:2])
    sites = np.zeros(image.shape)
    for channel, places in enumerate((((0, 0),), ((0, 1), (1, 0)), ((1, 1),))):
        for row, column in places:
            sites[row::2, column::2, channel] = mosaic[row::2, column::2]
    cross = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]]) / 4
    square = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4
    noise = np.stack([ndimage.convolve(sites[..., c], cross if c == 1 else square) for c in range(3)], -1)
    noise = noise @ np.array([[1.6, -0.3, -0.1], [-0.3, 1.6, -0.3], [-0.1, -0.3, 1.6]])
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


PHOTOGRAPHS = {"astronaut": data.astronaut, "coffee": data.coffee, "cat": data.cat, "rocket": data.rocket}


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("sigma", [0.0, 8.0, 40.0])
def test_white_noise_on_photographs_is_white(name: str, sigma: float) -> None:
    photograph = PHOTOGRAPHS[name]()
    noise = np.random.default_rng(3).normal(0, sigma, photograph.shape)
    found = measure(np.clip(np.rint(photograph + noise), 0, 255).astype(np.uint8))
    assert not found.correlated
    assert not {"row_lines", "column_lines", "mosaic", "pattern", "enlarged"} & set(noise_words.kinds(found))


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_a_phone_s_noise_is_correlated_and_said_to_be(name: str) -> None:
    found = measure(camera_noise(PHOTOGRAPHS[name](), 14))
    assert found.correlated
    assert min(found.beside[0], found.below[0]) > 0.3
    assert any("raw file" in warning for warning in noise_words.warnings(found))


@pytest.mark.parametrize("factor", [0.01, 1.0, 60.0])
def test_the_kind_does_not_depend_on_the_unit(factor: float) -> None:
    image = camera_noise(data.astronaut(), 14).astype(np.float32)
    assert measure(image * np.float32(factor) + np.float32(1000 * factor)).correlated


def test_black_and_saturated_areas_do_not_count() -> None:
    image = camera_noise(data.astronaut() * 0.7 + 40, 14)
    image[:130] = 0
    image[130:170] = 255
    assert measure(image).correlated


ROWS = np.random.default_rng(4).normal(0, 15, (256, 1))
ALTERNATING = np.where(INDEX % 2, 15.0, -15.0)
LINES = {"random rows": (ROWS, "row_lines"), "random columns": (ROWS.T, "column_lines")}
LINES |= {"odd and even rows": (ALTERNATING[:, None], "row_lines"), "weak rows": (0.2 * ROWS, "row_lines")}


@pytest.mark.parametrize("name", LINES)
def test_line_noise_is_named(name: str) -> None:
    pattern, kind = LINES[name]
    found = measure(noisy(pattern))
    assert noise_words.kinds(found) == [kind]
    assert not found.correlated


def test_the_strength_of_random_lines_is_measured() -> None:
    assert measure(noisy(ROWS)).rows.std == pytest.approx(15, rel=0.1)


CHECKS = ALTERNATING[:, None] * ALTERNATING[None] / 15


def test_a_checkerboard_is_a_mosaic() -> None:
    found = measure(noisy(CHECKS))
    assert "mosaic" in noise_words.kinds(found)
    assert found.patterns[0].amplitude == pytest.approx(15, rel=0.15)
    assert found.beside[0] < -0.4 and found.beside[1] > 0.4  # lags of both signs are seen


def test_a_colour_mosaic_is_a_mosaic() -> None:
    sites = np.zeros((256, 256))
    sites[::2, 1::2], sites[1::2, ::2], sites[1::2, 1::2] = 90, 90, 200
    assert "mosaic" in noise_words.kinds(measure(noisy(sites)))


@pytest.mark.parametrize("period", [4, 5, 8])
def test_hum_is_named_with_its_period(period: int) -> None:
    found = measure(noisy(15 * np.sin(2 * np.pi * INDEX[None] / period)))
    assert {"pattern", "column_lines"} & set(noise_words.kinds(found))
    assert found.patterns[0].columns == pytest.approx(period, rel=0.1)
    assert found.patterns[0].rows == math.inf


@pytest.mark.parametrize("times", [2, 3, 4])
def test_repeated_pixels_are_named(times: int) -> None:
    image = np.kron(noisy()[:128, :128], np.ones((times, times), np.uint16))
    found = measure(image)
    assert found.enlarged == times
    assert noise_words.kinds(found)[0] == "enlarged"


def test_jpeg_is_named_by_its_blocks() -> None:
    noise = np.random.default_rng(5).normal(0, 15, data.astronaut().shape)
    buffer = io.BytesIO()
    image = Image.fromarray(np.clip(data.astronaut() + noise, 0, 255).astype(np.uint8))
    image.save(buffer, "JPEG", quality=40)
    assert "jpeg" in noise_words.kinds(measure(np.asarray(Image.open(buffer))))
    assert "jpeg" not in noise_words.kinds(measure(np.asarray(image)))


def test_gray_saved_as_colour_has_equal_channels() -> None:
    found = measure(np.repeat(noisy()[..., None], 3, 2))
    assert found.equal_channels and found.between_channels == pytest.approx(1)
    assert not found.correlated


def test_smoothing_along_rows_is_named() -> None:
    image = scene() + ndimage.uniform_filter1d(np.random.default_rng(6).normal(0, 20, (256, 256)), 2, axis=1)
    assert noise_words.kinds(measure(image.astype(np.float32))) == ["along_rows"]


@pytest.mark.parametrize("shape", [(16, 200), (31, 31), (40, 40), (33, 500, 3)])
def test_small_and_constant_images_have_no_kind(shape: tuple[int, ...]) -> None:
    for image in (np.zeros(shape, np.uint8), np.full(shape, 7.5, np.float32)):
        assert not measure(image).correlated
        assert not noise_words.warnings(measure(image))


def test_the_report_says_what_is_left() -> None:
    before, after = measure(noisy(ROWS)), measure(np.rint(scene() + 0.9 * ROWS + 0.1).astype(np.uint16))
    assert before.rows.found
    (warning,) = noise_words.warnings(before, after)
    assert "still in the result (9" in warning
    (gone,) = noise_words.warnings(before, NoiseKind())
    assert "gone from the result" in gone
    told = noise_words.describe(before, after)
    assert told["kinds"] == ["row_lines"] and told["after"]["row_lines"] > 12


@pytest.mark.parametrize("sigma", [8.0, 16.0, 30.0])
def test_a_camera_s_noise_is_known_by_its_neighbours(sigma: float) -> None:
    photograph = np.repeat(ndimage.zoom(data.camera()[:160, :160], 3, order=3)[..., None], 3, -1) * 0.6 + 40
    assert measure(camera_noise(photograph, sigma)).camera
    white = photograph + np.random.default_rng(0).normal(0, sigma, photograph.shape)
    assert not measure(np.clip(np.rint(white), 0, 255).astype(np.uint8)).camera


def test_a_photograph_without_noise_is_not_taken_for_a_camera_s() -> None:
    for image in (data.astronaut(), data.chelsea(), data.coffee(), data.rocket()):
        assert not measure(image).camera
        noisy = 0.01 * np.random.default_rng(0).poisson(image / 2.55)
        assert not measure(np.rint(np.clip(noisy, 0, 1) * 255).astype(np.uint8)).camera


@pytest.mark.parametrize("period", [8, 12, 24])
def test_a_chessboard_is_no_jpeg(period: int) -> None:
    """One of 12 pixels was: blocks with its edges where JPEG's are counted as flatter than others."""
    y, x = np.mgrid[:256, :256]
    board = 300 + 130 * ((x // period + y // period) % 2)
    noisy = board + np.random.default_rng(0).normal(0, 10, board.shape)
    assert not measure(noisy.round().astype(np.uint16)).jpeg or period == 8  # whose edges are JPEG's own
