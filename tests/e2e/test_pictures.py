"""What goes in comes out: same size, depth, orientation; and with less noise."""

import io
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import tifffile
from PIL import Image

from tests.harness import pictures
from tests.harness.pictures import Picture

WAIT = {"Prefer": "wait=120", "Accept": "image/*"}


def denoised(http: httpx.Client, picture: Picture, **options: str) -> httpx.Response:
    answer = http.post("/denoise", files={"image": picture.data}, data=options, headers=WAIT)
    assert answer.status_code == 200, answer.text
    return answer


def test_a_16_bit_tiff(http: httpx.Client) -> None:
    picture = pictures.tiff16()
    answer = denoised(http, picture)
    assert answer.headers["content-type"] == "image/tiff"
    out = tifffile.imread(io.BytesIO(answer.content))
    assert out.shape == (512, 512) and out.dtype == np.uint16
    assert len(np.unique(out)) > 1000  # 16 bits of it, not 8 stretched
    assert picture.gain(out) > 4
    assert 0.003 < float(answer.headers["b2s-noise-alpha"]) < 0.03


def test_an_rgb_png_as_a_raw_body(http: httpx.Client) -> None:
    picture = pictures.png(3)
    answer = http.post("/denoise", content=picture.data, headers=WAIT | {"Content-Type": "image/png"})
    out = Image.open(io.BytesIO(answer.content))
    assert (out.format, out.mode, out.size) == ("PNG", "RGB", (512, 512))
    assert picture.gain(np.asarray(out)) > 3
    assert answer.headers["b2s-model"] == "base-rgb"


def test_a_jpeg_with_exif_rotation(http: httpx.Client) -> None:
    picture = pictures.rotated_jpeg()
    answer = denoised(http, picture)
    out = Image.open(io.BytesIO(answer.content))
    assert (out.format, out.mode) == ("JPEG", "RGB")
    assert out.size == (512, 384) and out.getexif()[0x0112] == 6  # turned by the viewer once, as the original
    assert picture.gain(np.asarray(out)) > 2


def test_strength_0_gives_the_input_back(http: httpx.Client) -> None:
    picture = pictures.png(1)
    out = np.asarray(Image.open(io.BytesIO(denoised(http, picture, strength="0").content)))
    assert np.array_equal(out, picture.noisy)


def test_a_crop_in_another_format(http: httpx.Client) -> None:
    picture = pictures.png(1)
    answer = denoised(http, picture, roi="100,50,64,32", output_format="tiff")
    assert tifffile.imread(io.BytesIO(answer.content)).shape == (32, 64)


def test_previews_of_16_bit_are_drawn_once_for_all_who_ask(http: httpx.Client) -> None:
    picture = pictures.tiff16()
    answer = denoised(http, picture)
    path = f"/jobs/{answer.headers['b2s-job-id']}/preview.png"
    with ThreadPoolExecutor(4) as pool:
        sides = list(
            pool.map(lambda side: http.get(path, params={"side": side}), ["before", "after", "after", "after"])
        )
    assert [side.status_code for side in sides] == [200] * 4, sides[0].text
    assert len({side.headers["etag"] for side in sides}) == 2
    before, after = (np.asarray(Image.open(io.BytesIO(side.content)), np.float64) for side in sides[:2])
    assert before.shape == after.shape == picture.noisy.shape[:2]
    assert np.corrcoef(before.ravel(), picture.noisy.ravel())[0, 1] > 0.9
    assert np.abs(np.diff(before)).mean() > 1.5 * np.abs(np.diff(after)).mean()
