"""What goes wrong in a shell is a line and an exit code, never a traceback; what others wrote is shown as they did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from client import Client, cli
from tests.client.both import HURRIED
from tests.client.test_cli import write_noise

URL = "http://b2s.test"
NAME = "a[b]/x[/i].png"


@pytest.fixture
def b2s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`b2s` in a folder of its own, on a service that answers as told."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, answer: Callable[[httpx.Request], httpx.Response] = refused) -> Result:
        def made(**options: Any) -> Client:
            client = Client(URL, retries=HURRIED)
            client._http = httpx.Client(base_url=URL, transport=httpx.MockTransport(answer))
            return client

        monkeypatch.setattr(cli, "Client", made)
        result = CliRunner().invoke(cli.app, list(arguments))
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


def refused(request: httpx.Request) -> httpx.Response:
    return httpx.Response(415, json={"detail": "This is no image [/x]; send [png]."})


def test_brackets_in_names_and_answers_are_no_markup(b2s: Callable[..., Result], tmp_path: Path) -> None:
    write_noise(tmp_path / NAME, 1)
    said = b2s("denoise", NAME)
    assert said.exit_code == cli.FAILED
    assert f"failed {NAME}: This is no image [/x]; send [png]." in " ".join(said.output.split())
    said = b2s("models")
    assert said.exit_code == cli.REFUSED and "This is no image [/x]; send [png]." in said.output
    model = {"id": "mdl_1", "channels": 1, "card": {"name": "[/] mine [red]"}}
    models = httpx.Response(200, json={"models": [model], "next_cursor": None})
    said = b2s("models", answer=lambda request: models)
    assert said.exit_code == 0 and "[/] mine [red]" in said.output
