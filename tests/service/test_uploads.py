import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from store.job import Created, NewJob
from tests.service.gateway import Running, png, running_gateway
from tests.service.test_problems import problem_of


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
        "report": False, "webhook_url": None,
    }  # fmt: skip


def test_a_form_field_wins_over_the_query(gateway: Running) -> None:
    query = {"strength": "1", "metadata": "none"}
    answer = gateway.http.post("/denoise", params=query, files={"image": png()}, data={"strength": "0.5"})
    assert (answer.json()["options"]["strength"], answer.json()["options"]["metadata"]) == (0.5, "none")


@pytest.mark.parametrize("strength", ["-0.1", "1.1", "nan", "inf", "much", ""])
def test_strength_is_checked(gateway: Running, strength: str) -> None:
    answer = gateway.http.post("/denoise", files={"image": png()}, data={"strength": strength})
    assert problem_of(answer, 422, "invalid-request")["errors"][0]["field"] == "strength"


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


def test_an_upload_stays_if_its_job_may_be_there(gateway: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database's answer was lost, not the job: without its bytes it could only fail."""
    create = gateway.services.jobs.create

    def commits_and_loses_the_answer(new: NewJob) -> Created:
        create(new)
        raise OperationalError("COMMIT", {}, ConnectionError("the connection was cut"))

    monkeypatch.setattr(gateway.services.jobs, "create", commits_and_loses_the_answer)
    answer = gateway.http.post("/denoise", files={"image": png()})
    assert answer.status_code == 503
    job = gateway.claim()
    assert job.input_key is not None and gateway.services.blobs.get(job.input_key) == png()


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


def test_content_is_sniffed_and_names_are_not_trusted(gateway: Running) -> None:
    answer = gateway.http.post("/denoise", files={"image": ("photo.png", b"<svg onload=alert(1)>", "image/png")})
    assert "PNG" in problem_of(answer, 415, "unsupported-media-type")["detail"]


def test_a_cut_off_header_is_a_broken_image(gateway: Running) -> None:
    problem_of(gateway.http.post("/denoise", files={"image": png()[:20]}), 422, "broken-image")


@pytest.mark.parametrize("content_type", ["text/plain", "application/json", "application/x-www-form-urlencoded"])
def test_other_content_types_are_refused_with_the_curl_line(gateway: Running, content_type: str) -> None:
    answer = gateway.http.post("/denoise", content=b"image=x", headers={"Content-Type": content_type})
    assert "curl -F image=@" in problem_of(answer, 415, "unsupported-media-type")["detail"]


def test_a_form_needs_exactly_one_image(gateway: Running) -> None:
    two = [("image", ("a.png", png())), ("image", ("b.png", png()))]
    for files in (two, [("picture", ("a.png", png()))], [("image", ("a.png", b""))]):
        problem_of(gateway.http.post("/denoise", files=files), 422, "invalid-request")
    as_text = gateway.http.post("/denoise", files={"strength": (None, "1"), "image": (None, "text")})
    assert problem_of(as_text, 422, "invalid-request")["errors"][0]["field"] == "image"
    empty = gateway.http.post("/denoise", content=b"", headers={"Content-Type": "image/png"})
    problem_of(empty, 422, "invalid-request")


# Starlette leaves the closing of a form's cut-off file to the garbage collector, which warns.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"--x\r\n"),
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
