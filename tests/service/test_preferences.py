import pytest

from service.http.preferences import asks_for_images, wait_seconds, weight_of


@pytest.mark.parametrize(
    ("query", "prefer", "expected"),
    [
        (None, None, None),
        (5.0, None, 5.0),
        (0.0, "wait=9", 0.0),
        (500.0, None, 60.0),
        (None, "wait=10", 10.0),
        (None, "wait = 10", 10.0),
        (None, 'wait="10"', 10.0),
        (None, "WAIT=10", 10.0),
        (None, "respond-async, wait=10", 10.0),
        (None, "handling=lenient; foo, wait=10", 10.0),
        (None, "wait", 60.0),
        (None, "wait=99999", 60.0),
        (None, "wait=-1", None),
        (None, "wait=soon", None),
        (None, "await=10", None),
        (None, "nowait", None),
        (None, "", None),
    ],
)
def test_how_long_to_wait(query: float | None, prefer: str | None, expected: float | None) -> None:
    assert wait_seconds(query, prefer, 60.0) == expected


@pytest.mark.parametrize(
    ("accept", "media_type", "expected"),
    [
        (None, "image/png", 1.0),
        ("", "image/png", 1.0),
        ("*/*", "image/png", 1.0),
        ("image/*", "image/png", 1.0),
        ("image/*", "application/json", 0.0),
        ("image/png;q=0.5", "image/png", 0.5),
        ("image/png;q=0.5, image/*;q=0.9", "image/png", 0.5),
        ("*/*;q=0.1, image/*;q=0.2", "image/tiff", 0.2),
        ("IMAGE/PNG", "image/png", 1.0),
        ("image/png;q=nonsense", "image/png", 0.0),
        ("image/png;q=7", "image/png", 1.0),
        (",,;", "image/png", 0.0),
    ],
)
def test_quality(accept: str | None, media_type: str, expected: float) -> None:
    assert weight_of(accept, media_type) == expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [("image/webp", True), ("image/*;q=0", False), ("text/html, image/png;q=0.1", True), ("*/*", False), (None, False)],
)
def test_asks_for_images(accept: str | None, expected: bool) -> None:
    assert asks_for_images(accept) is expected
