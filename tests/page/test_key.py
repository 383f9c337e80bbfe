"""The page of a service that asks for a key."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser

from tests.harness import pictures
from tests.harness.cluster import Cluster, cluster
from tests.harness.ports import free_port
from tests.harness.service_process import ROOT, Service
from tests.page.conftest import Visit, opened

OPEN = "document.querySelector('#key-dialog').open"
LISTED = "document.querySelector('#model').options.length > 1"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Cluster]:
    """A store with a gateway and no worker."""
    with cluster(tmp_path_factory.mktemp("closed"), redis_url) as found:
        yield found


@pytest.fixture(scope="module")
def key(running: Cluster) -> str:
    command = [sys.executable, "-m", "ops", "keys", "create", "acme"]
    environment = {"PATH": os.environ["PATH"], "B2S_DATA_DIR": running.settings.data_dir.__fspath__()}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=120
    ).stdout.strip()


@pytest.fixture(scope="module")
def url(running: Cluster, key: str) -> str:
    port = free_port()
    running.gateway(port)
    found = f"http://127.0.0.1:{port}"
    running.wait(lambda: _answers(found))
    return found


def test_the_key_is_asked_for_once_and_kept_for_the_tab(
    browser: Browser, url: str, key: str, running: Cluster, tmp_path: Path
) -> None:
    handle = running.processes[-1].handle
    assert handle is not None
    blobs = running.blobs
    service = Service(url, handle, running.folder, running.processes[-1].log, blobs)
    with browser.new_context() as context:
        visit: Visit = opened(context, service)
        page = visit.page
        visit.until(OPEN)
        assert visit.barriers() == []
        page.fill("#key", "b2s_wrong")
        page.keyboard.press("Enter")
        visit.until(f"{OPEN} && document.querySelector('#key').value === ''")  # asked again, for that one was refused
        assert page.locator("#error").is_hidden()
        page.fill("#key", key)
        page.keyboard.press("Enter")
        visit.until(LISTED)
        assert not page.evaluate(OPEN) and page.locator("#error").is_hidden()  # two requests needed it: asked once
        assert page.evaluate("Object.values({ ...sessionStorage })") == [key]
        assert page.evaluate("localStorage.length + document.cookie.length") == 0

        (tmp_path / "scene.png").write_bytes(pictures.png(1).data)
        page.set_input_files("#files", tmp_path / "scene.png")
        visit.until("document.querySelector('#jobs tbody').textContent.includes('scene.png')")  # taken, with the key
        page.reload()
        visit.until(LISTED)
        assert not page.evaluate(OPEN)

        other = opened(context, service)  # another tab has a session of its own
        other.until(OPEN)
        other.page.keyboard.press("Escape")
        other.until("!document.querySelector('#error').hidden")
        assert "key" in other.page.inner_text("#error").lower()
        other.page.wait_for_timeout(12_000)
        assert not other.page.evaluate(OPEN)  # the list that keeps itself fresh does not nag


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez").status_code == 200
    except httpx.TransportError:
        return False
