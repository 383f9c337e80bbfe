"""How large an upload may be: on one's own machine as its stacks need, elsewhere as it is set; told beforehand."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.intake import upload_bytes as module
from service.intake.upload_bytes import upload_bytes
from store.keys import DEFAULT_SCOPES
from store.settings import OWN_UPLOAD_BYTES, UPLOAD_BYTES, Settings
from tests.harness.gateway import Running, png, problem_of, running_gateway


@pytest.mark.parametrize(
    ("given", "open_to_all", "expected"),
    [
        ({}, True, OWN_UPLOAD_BYTES),
        ({}, False, UPLOAD_BYTES),
        ({"host": "::1"}, True, OWN_UPLOAD_BYTES),
        ({"host": "0.0.0.0", "allow_open": True}, True, UPLOAD_BYTES),
        ({"allow_open": True}, True, UPLOAD_BYTES),
        ({"max_upload_bytes": 5}, True, 5),
        ({"max_upload_bytes": 5}, False, 5),
    ],
)
def test_it_fits_who_can_send(
    given: dict[str, object], open_to_all: bool, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "free_bytes", lambda: 100 * OWN_UPLOAD_BYTES)
    settings = Settings.model_validate(given)
    assert upload_bytes(settings, open_to_all) == expected
    assert settings.most_upload_bytes >= expected  # a worker takes whatever a gateway took


def test_it_fits_the_free_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    for free, expected in ((2 * OWN_UPLOAD_BYTES, OWN_UPLOAD_BYTES // 2), (0, UPLOAD_BYTES)):
        monkeypatch.setattr(module, "free_bytes", lambda free=free: free)
        assert upload_bytes(Settings(), True) == expected


def limit(gateway: Running, **headers: str) -> int:
    found: int = gateway.http.get("/usage", headers=headers).json()["limits"]["upload_bytes"]
    return found


def test_a_large_stack_is_taken_until_the_first_key_is_made(tmp_path: Path) -> None:
    """A declared length is judged before a byte is asked for, so none has to be sent."""
    length = UPLOAD_BYTES + 2**20
    with running_gateway(tmp_path) as gateway:
        if limit(gateway) < length:
            pytest.skip("the disk of this machine is nearly full")
        stack = png() + bytes(length - len(png()))
        assert gateway.http.post("/denoise", content=stack, headers={"Content-Type": "image/png"}).status_code in (
            202,
            422,
        )
        key = gateway.services.keys.create("default", DEFAULT_SCOPES)
        gateway.wait_until_closed()
        sent = {"Authorization": f"Bearer {key}"}
        assert limit(gateway, **sent) == UPLOAD_BYTES
        refused = gateway.http.post("/denoise", content=stack, headers=sent | {"Content-Type": "image/png"})
        assert f"{UPLOAD_BYTES:,}" in problem_of(refused, 413, "content-too-large")["detail"]
