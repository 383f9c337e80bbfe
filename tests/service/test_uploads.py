import gzip
import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy.exc import OperationalError

from store.job import Created, JobKind, NewJob
from tests.harness import files
from tests.harness.gateway import Running, png, problem_of, running_gateway

FORM = "multipart/form-data; boundary=x"


def announced_png(width: int, height: int) -> bytes:
    """A PNG whose header announces this size; the pixels are missing, as in a decompression bomb they would be tiny."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def kept(gateway: Running) -> int:
    """Uploads and jobs that the gateway holds."""
    return len(list(gateway.services.blobs.below("jobs"))) + len(gateway.http.get("/jobs").json()["jobs"])


@pytest.mark.parametrize("content_type", ["image/png", "application/octet-stream", "image/jpeg"])
def test_a_raw_body_is_an_image_whatever_it_is_called(gateway: Running, content_type: str) -> None:
    answer = gateway.http.post("/denoise", content=png(9, 7), headers={"Content-Type": content_type})
    assert answer.status_code == 202
    facts = answer.json()["input"]
    assert (facts["format"], facts["width"], facts["height"]) == ("png", 9, 7)


@pytest.mark.parametrize(
    ("sent", "shown"),
    [("cells.tif", "cells.tif"), ("C:\\scans\\a.png", "a.png"), ("../../b.png", "b.png"), ("é\u202e.png", "é?.png")],
)
def test_a_job_tells_the_name_of_its_file(gateway: Running, sent: str, shown: str) -> None:
    posted = gateway.http.post("/denoise", files={"image": (sent, png())}).json()
    assert posted["input"]["name"] == gateway.http.get("/jobs").json()["jobs"][0]["input"]["name"] == shown
    raw = gateway.http.post("/denoise", content=png(), headers={"Content-Type": "image/png"}).json()
    assert raw["input"]["name"] is None


def test_the_upload_is_stored_as_it_was_sent(gateway: Running) -> None:
    image = png(64, 48, "RGB", (1, 2, 3))
    gateway.post(image)
    job = gateway.claim()
    assert job.input_key is not None and gateway.services.blobs.get(job.input_key) == image


def test_options_reach_the_job_from_form_and_query(gateway: Running) -> None:
    by_form = gateway.post(strength="0.25", output_format="tiff", roi="1,2,3,4", metadata="safe", report="false")
    query = "strength=0.25&output_format=tiff&roi=1,2,3,4&metadata=safe&report=false"
    by_query = gateway.http.post(f"/denoise?{query}", content=png(), headers={"Content-Type": "image/png"}).json()
    assert by_form["options"] == by_query["options"]
    assert by_form["options"] == {
        "strength": 0.25, "output_format": "tiff", "roi": "1,2,3,4", "normalize": "auto", "metadata": "safe",
        "report": False, "webhook_url": None, "quality": "fast", "mosaic": "auto", "output_dtype": None,
        "lines": "auto",
    }  # fmt: skip


def test_options_may_be_split_between_query_and_form(gateway: Running) -> None:
    answer = gateway.http.post("/denoise?metadata=none", files={"image": png()}, data={"strength": "0.5"})
    assert (answer.json()["options"]["strength"], answer.json()["options"]["metadata"]) == (0.5, "none")


@pytest.mark.parametrize(
    ("path", "request_"),
    [
        ("/denoise?strength=1", {"files": {"image": png()}, "data": {"strength": "0.5"}}),
        ("/denoise?strength=1", {"files": {"image": png()}, "data": {"strength": "1"}}),
        ("/denoise", {"files": [("image", png()), ("strength", (None, "1")), ("strength", (None, "1"))]}),
        ("/denoise?strength=1&strength=0.5", {"files": {"image": png()}}),
        ("/denoise?strength=1&strength=0.5", {"content": png(), "headers": {"Content-Type": "image/png"}}),
        ("/finetune?seed=1", {"files": {"images": png()}, "data": {"seed": "2"}}),
        ("/finetune?seed=1", {"json": {"seed": 2}}),
        ("/finetune?seed=1&seed=2", {"files": {"images": png()}}),
        ("/finetune", {"content": b'{"seed": 1, "seed": 2}', "headers": {"Content-Type": "application/json"}}),
        (
            "/finetune",
            {"content": b"seed=1&seed=2", "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
        ),
    ],
)
def test_an_option_given_twice_is_refused(gateway: Running, path: str, request_: dict[str, Any]) -> None:
    """Which of the two was meant nobody here knows."""
    before = kept(gateway)
    answer = gateway.http.post(path, **request_)
    option = "strength" if path.startswith("/denoise") else "seed"
    assert problem_of(answer, 422, "invalid-request")["errors"][0]["field"] == option
    assert kept(gateway) == before


@pytest.mark.parametrize("strength", ["-0.1", "1.1", "nan", "inf", "much", ""])
def test_strength_is_checked(gateway: Running, strength: str) -> None:
    answer = gateway.http.post("/denoise", files={"image": png()}, data={"strength": strength})
    assert problem_of(answer, 422, "invalid-request")["errors"][0]["field"] == "strength"


@pytest.mark.parametrize(
    ("image", "options", "remedy"),
    [
        (files.dng(files.noise((32, 48), "uint16")), {"output_format": "jpeg"}, "choose tiff"),
        (files.fits(files.noise((8, 8), "float32")), {"output_format": "png"}, "choose tiff"),
        (files.fits(files.noise((8, 8), "int16")), {"metadata": "none"}, "output_format=tiff"),
        (png(8, 8, "RGBA"), {"output_format": "jpeg"}, "choose png"),
        (png(8, 8), {"output_dtype": "float32"}, "choose tiff, or leave output_dtype out"),
        (png(8, 8), {"output_dtype": "float32", "output_format": "webp"}, "choose tiff"),
        (files.dicom(files.noise((8, 8))), {"output_dtype": "float32"}, "choose tiff"),
        (png(8, 8, "RGB"), {"mosaic": "bayer"}, "one channel"),
    ],
)
def test_a_result_that_cannot_be_written_is_refused_before_the_work(
    gateway: Running, image: bytes, options: dict[str, str], remedy: str
) -> None:
    answer = gateway.http.post("/denoise", files={"image": image}, data=options)
    error = problem_of(answer, 422, "invalid-request")["errors"][0]
    assert error["field"] in ("output_format", "output_dtype", "mosaic") and remedy in error["message"]
    assert gateway.http.get("/jobs").json()["jobs"] == []


def test_a_crop_of_a_raw_mosaic_begins_with_a_block_of_it(gateway: Running) -> None:
    image = files.dng(files.noise((32, 48), "uint16"))
    answer = gateway.http.post("/denoise", files={"image": image}, data={"roi": "3,4,8,8"})
    assert problem_of(answer, 422, "invalid-request")["errors"][0]["field"] == "roi"
    assert gateway.http.post("/denoise", files={"image": image}, data={"roi": "40,30,8,2"}).status_code == 202


@pytest.mark.parametrize("roi", ["0,0,9,1", "7,0,2,1", "0,0,0,1", "0,0,1", "-1,0,2,2", "a,b,c,d"])
def test_a_crop_outside_the_image_is_refused(gateway: Running, roi: str) -> None:
    answer = gateway.http.post("/denoise", files={"image": png(8, 8)}, data={"roi": roi})
    assert problem_of(answer, 422, "invalid-request")["errors"][0]["field"] == "roi"


def test_the_model_follows_the_channels(gateway: Running) -> None:
    assert gateway.post(png(mode="L"))["model"] == "base-gray"
    assert gateway.post(png(mode="RGB", color=(0, 0, 0)))["model"] == "base-rgb"


def test_only_a_model_that_was_asked_for_is_among_the_options(gateway: Running) -> None:
    """A worker may choose another for who did not choose: three channels can show different things."""
    rgb = png(mode="RGB", color=(0, 0, 0))
    assert "model" not in gateway.post(rgb)["options"]
    assert gateway.post(rgb, model="base-rgb")["options"]["model"] == "base-rgb"


@pytest.mark.parametrize(
    ("path", "field", "kind"), [("/denoise", "image", "denoise"), ("/finetune", "images", "finetune")]
)
def test_an_upload_stays_if_its_job_may_be_there(
    gateway: Running, monkeypatch: pytest.MonkeyPatch, path: str, field: str, kind: str
) -> None:
    """The database's answer was lost, not the job: without its bytes it could only fail."""
    create = gateway.services.jobs.create

    def commits_and_loses_the_answer(new: NewJob) -> Created:
        create(new)
        raise OperationalError("COMMIT", {}, ConnectionError("the connection was cut"))

    monkeypatch.setattr(gateway.services.jobs, "create", commits_and_loses_the_answer)
    answer = gateway.http.post(path, files={field: ("a.png", png())})
    assert answer.status_code == 503
    job = gateway.services.jobs.claim(JobKind(kind), "test")
    assert job is not None and job.input_key is not None
    stored = [gateway.services.blobs.get(blob.key) for blob in gateway.services.blobs.below(f"jobs/{job.id}")]
    assert png() in stored and gateway.services.blobs.get(job.input_key) in stored


def test_a_model_that_does_not_fit_is_refused(gateway: Running) -> None:
    for model, remedy in (("base-rgb", "leave `model` out"), ("base-gry", "GET /models")):
        answer = gateway.http.post("/denoise", files={"image": png(mode="L")}, data={"model": model})
        assert remedy in problem_of(answer, 422, "invalid-request")["detail"]


def test_too_many_bytes_by_content_length(gateway: Running) -> None:
    before = kept(gateway)
    body = png() + bytes(400_000)
    for answer in (
        gateway.http.post("/denoise", content=body, headers={"Content-Type": "image/png"}),
        gateway.http.post("/denoise", files={"image": body}),
    ):
        detail = problem_of(answer, 413, "content-too-large")["detail"]
        assert "B2S_MAX_UPLOAD_BYTES" in detail and "B2S_MAX_PIXELS" in detail and "200,000" in detail
    assert kept(gateway) == before


def test_too_many_bytes_in_chunks_are_cut_off_while_they_stream(gateway: Running) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield png()
        while sent < 500_000_000:
            sent += 65_536
            yield bytes(65_536)

    answer = gateway.http.post("/denoise", content=endless(), headers={"Content-Type": "image/png"})
    assert "B2S_MAX_UPLOAD_BYTES" in problem_of(answer, 413, "content-too-large")["detail"]
    assert sent < 100_000_000


def test_a_client_that_reads_only_after_writing_gets_the_reason(gateway: Running) -> None:
    body = png() + bytes(3_000_000)
    for _ in range(5):
        answer = gateway.http.post("/denoise", content=iter([body]), headers={"Content-Type": "image/png"})
        problem_of(answer, 413, "content-too-large")


def test_a_little_over_the_limit_is_over(gateway: Running) -> None:
    at_limit = png() + bytes(200_000 - len(png()))
    gateway.post(at_limit)
    over = at_limit + b"\0"
    problem_of(gateway.http.post("/denoise", files={"image": over}), 413, "content-too-large")
    raw = gateway.http.post("/denoise", content=over, headers={"Content-Type": "image/png"})
    problem_of(raw, 413, "content-too-large")


@pytest.mark.parametrize(("width", "height"), [(1001, 1000), (60_000, 60_000), (1, 2_000_000_000)])
def test_too_many_pixels_are_seen_in_the_header(gateway: Running, width: int, height: int) -> None:
    before = kept(gateway)
    answer = gateway.http.post("/denoise", files={"image": announced_png(width, height)})
    detail = problem_of(answer, 413, "image-too-large")["detail"]
    assert "B2S_MAX_PIXELS = 1,000,000" in detail and "B2S_MAX_UPLOAD_BYTES = 200,000" in detail
    assert kept(gateway) == before


def test_a_stack_counts_by_the_page_where_it_goes_page_by_page(gateway: Running) -> None:
    """1,470,000 pixels in pages of 490,000, where 1,000,000 are the most."""
    stack = files.tiff(np.zeros((3, 700, 700), np.uint8), photometric="minisblack", compression="zlib")
    assert gateway.post(stack)["input"]["frames"] == 3
    assert gateway.post(stack, output_format="png", roi="0,0,500,600")
    before = kept(gateway)
    answer = gateway.http.post("/denoise", files={"image": stack}, data={"output_format": "png"})
    detail = problem_of(answer, 413, "image-too-large")["detail"]
    assert "PNG is written at once" in detail and "B2S_MAX_PIXELS = 1,000,000" in detail
    page = files.tiff(np.zeros((3, 1001, 1000), np.uint8), photometric="minisblack", compression="zlib")
    problem_of(gateway.http.post("/denoise", files={"image": page}), 413, "image-too-large")
    film = io.BytesIO()
    first, *rest = (Image.new("L", (700, 700), shade) for shade in (0, 100, 200))
    first.save(film, "GIF", save_all=True, append_images=rest)
    answer = gateway.http.post("/denoise", files={"image": film.getvalue()})
    assert "GIF is read at once" in problem_of(answer, 413, "image-too-large")["detail"]
    assert kept(gateway) == before


def test_content_is_sniffed_and_names_are_not_trusted(gateway: Running) -> None:
    answer = gateway.http.post("/denoise", files={"image": ("photo.png", b"<svg onload=alert(1)>", "image/png")})
    assert "PNG" in problem_of(answer, 415, "unsupported-media-type")["detail"]


def test_a_cut_off_header_is_a_broken_image(gateway: Running) -> None:
    problem_of(gateway.http.post("/denoise", files={"image": png()[:20]}), 422, "broken-image")


@pytest.mark.parametrize("content_type", ["text/plain", "application/json", "application/x-www-form-urlencoded"])
def test_other_content_types_are_refused_with_the_curl_line(gateway: Running, content_type: str) -> None:
    answer = gateway.http.post("/denoise", content=b"image=x", headers={"Content-Type": content_type})
    assert "curl -F image=@" in problem_of(answer, 415, "unsupported-media-type")["detail"]


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/denoise", FORM), ("/denoise", "image/png"), ("/finetune", FORM), ("/finetune", "application/zip")],
)
def test_a_coded_body_is_refused_by_that_name(gateway: Running, path: str, kind: str) -> None:
    headers = {"Content-Type": kind, "Content-Encoding": "gzip"}
    answer = gateway.http.post(path, content=gzip.compress(png() + bytes(500_000)), headers=headers)
    assert "Content-Encoding is gzip" in problem_of(answer, 415, "unsupported-media-type")["detail"]
    assert answer.headers["accept-encoding"] == "identity"


def test_a_body_that_says_it_is_not_coded_is_taken(gateway: Running) -> None:
    headers = {"Content-Type": "image/png", "Content-Encoding": "identity"}
    assert gateway.http.post("/denoise", content=png(), headers=headers).status_code == 202


@pytest.mark.parametrize(
    "said",
    [
        "filename*=UTF-8''na%C3%AFve.png",
        "filename=x.png; filename*=utf-8'fr'%E2%82%AC.png",
        "filename*=bogus''a.png",
    ],
)
def test_a_file_may_be_named_in_any_script(gateway: Running, said: str) -> None:
    head = f'--x\r\nContent-Disposition: form-data; name="image"; {said}\r\n\r\n'.encode()
    headers = {"Content-Type": FORM}
    answer = gateway.http.post("/denoise", content=head + png() + b"\r\n--x--\r\n", headers=headers)
    assert answer.status_code == 202


def test_a_form_needs_exactly_one_image(gateway: Running) -> None:
    two = [("image", ("a.png", png())), ("image", ("b.png", png()))]
    for sent in (two, [("picture", ("a.png", png()))], [("image", ("a.png", b""))]):
        problem_of(gateway.http.post("/denoise", files=sent), 422, "invalid-request")
    as_text = gateway.http.post("/denoise", files={"strength": (None, "1"), "image": (None, "text")})
    assert problem_of(as_text, 422, "invalid-request")["errors"][0]["field"] == "image"
    empty = gateway.http.post("/denoise", content=b"", headers={"Content-Type": "image/png"})
    problem_of(empty, 422, "invalid-request")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"--x\r\n"),
        ("multipart/form-data; boundary=x" + ";" * 3000, b"--x\r\n"),
        ("multipart/form-data; boundary=x", b"--y\r\nnonsense"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--\r\n"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n',
        ),
    ],
)
def test_a_broken_form_is_refused(gateway: Running, content_type: str, body: bytes) -> None:
    answer = gateway.http.post("/denoise", content=body, headers={"Content-Type": content_type})
    problem_of(answer, 422, "invalid-request")


def test_a_form_with_too_many_or_too_long_fields_is_refused(gateway: Running) -> None:
    many = gateway.http.post("/denoise", files={"image": png()}, data={f"f{n}": "1" for n in range(40)})
    problem_of(many, 422, "invalid-request")
    long = gateway.http.post("/denoise", files={"image": png()}, data={"model": "x" * 10_000})
    problem_of(long, 422, "invalid-request")


def test_a_tenant_s_full_share_says_when_to_come_back_and_keeps_nothing(tmp_path: Path) -> None:
    with running_gateway(tmp_path, max_queued_per_tenant=2) as gateway:
        for _ in range(2):
            gateway.post()
        before = kept(gateway)
        answer = gateway.http.post("/denoise", files={"image": png()})
        problem_of(answer, 429, "too-many-queued")
        assert int(answer.headers["retry-after"]) > 0
        assert kept(gateway) == before


def test_a_full_queue_says_when_to_come_back_and_keeps_nothing(gateway: Running) -> None:
    for _ in range(20):
        gateway.post()
    before = kept(gateway)
    answer = gateway.http.post("/denoise", files={"image": png()})
    problem_of(answer, 503, "queue-full")
    assert int(answer.headers["retry-after"]) > 0
    assert kept(gateway) == before
