"""A multipart form as events: what its part headers may say."""

from __future__ import annotations

import pytest

from service.http import problems
from service.intake.multipart import MultipartReader, PartBegin


def broken(what: str) -> problems.InvalidRequest:
    return problems.InvalidRequest(what)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("filename=plain.png", "plain.png"),
        ("filename*=UTF-8''na%C3%AFve.png", "naïve.png"),
        ("filename*=iso-8859-1'en'na%EFve.png", "naïve.png"),
        ("filename=fallback.png; filename*=utf-8''%E2%82%AC.png", "€.png"),
        ("filename*=utf-8''%E2%82%AC.png; filename=fallback.png", "€.png"),
        ("FileName*=utf-8''a%20b.png", "a b.png"),
        ("filename*=utf-8''..%2Fsecret%5Ca.png", "a.png"),
        ("filename*=bogus''a.png", "a.png"),
        ("filename*=without-charset", "without-charset"),
        ("title=nothing", None),
    ],
)
def test_names_of_files(said: str, name: str | None) -> None:
    reader = MultipartReader(b"x", broken)
    head = f'--x\r\nContent-Disposition: form-data; name="images"; {said}\r\n\r\n'
    assert reader.feed(head.encode()) == [PartBegin("images", name)]


@pytest.mark.parametrize("filler", ["; ", ";", '";', '\\";'])
@pytest.mark.parametrize("end", ["", "; filename*=utf-8''a.png"])
def test_options_without_end_are_refused_before_they_are_parsed(
    filler: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4 kB of them took up to 60 ms a part, and a form has ten thousand parts."""
    monkeypatch.setattr("service.intake.header_options.parse_options_header", lambda _: pytest.fail("parsed"))
    monkeypatch.setattr("service.intake.header_options.Message", lambda: pytest.fail("parsed"))
    reader = MultipartReader(b"x", broken)
    said = filler * (3900 // len(filler)) + end
    with pytest.raises(problems.InvalidRequest, match="semicolons"):
        reader.feed(f'--x\r\nContent-Disposition: form-data; name="images"{said}\r\n\r\n'.encode())


def test_a_file_name_may_have_semicolons() -> None:
    reader = MultipartReader(b"x", broken)
    head = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a;b; c;.png"\r\n\r\n'
    assert reader.feed(head) == [PartBegin("images", "a;b; c;.png")]
