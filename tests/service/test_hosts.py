import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from service.app import create_app
from service.edge.hosts import is_loopback, require_guarded
from store.database import connect
from store.errors import SettingsError
from store.keys import Keys
from store.migrate import upgrade
from store.settings import Settings
from tests.harness.gateway import Running, png, problem_of, running_gateway
from tests.harness.ports import free_port

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "", "localhost.evil.org", "127.0.0.1.nip.io"]
)
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_a_gateway_without_keys_does_not_start_where_strangers_reach_it(tmp_path: Path) -> None:
    keys = Keys(connect(f"sqlite:///{tmp_path / 'b2s.sqlite3'}"))
    upgrade(connect(f"sqlite:///{tmp_path / 'b2s.sqlite3'}"))
    with pytest.raises(SettingsError, match=r"HOST=0\.0\.0\.0.*make key.*B2S_ALLOW_OPEN=1"):
        require_guarded(Settings(host="0.0.0.0"), keys)
    require_guarded(Settings(host="0.0.0.0", allow_open=True), keys)
    require_guarded(Settings(host="127.0.0.1"), keys)
    keys.revoke(keys.create("acme").split("_")[1])
    require_guarded(Settings(host="0.0.0.0"), keys)


def test_every_way_to_start_looks_for_strangers(tmp_path: Path) -> None:
    upgrade(connect(f"sqlite:///{tmp_path / 'b2s.sqlite3'}"))
    app = create_app(Settings(host="0.0.0.0", data_dir=tmp_path))

    async def start_app() -> None:
        async with app.router.lifespan_context(app):
            raise AssertionError("started")

    with pytest.raises(SettingsError, match="B2S_ALLOW_OPEN"):
        anyio.run(start_app)


def test_a_web_page_cannot_reach_it_by_a_name_of_its_own(gateway: Running) -> None:
    port = gateway.url.rsplit(":", 1)[1]
    for host in ("attacker.example", f"attacker.example:{port}", "127.0.0.1.nip.io"):
        problem_of(gateway.http.get("/jobs", headers={"Host": host}), 421, "host-refused")
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"):
        assert gateway.http.get("/jobs", headers={"Host": host}).status_code == 200


def test_a_web_page_cannot_post_to_it(gateway: Running) -> None:
    for origin in ("https://attacker.example", "null", "http://127.0.0.1.nip.io", "http://[::1"):
        answer = gateway.http.post("/denoise", files={"image": png()}, headers={"Origin": origin})
        problem_of(answer, 421, "host-refused")
    assert gateway.http.get("/jobs").json()["jobs"] == []
    for origin in ("http://127.0.0.1:9999", "http://localhost", "http://[::1]:8000"):
        answer = gateway.http.post("/denoise", files={"image": png()}, headers={"Origin": origin})
        assert answer.status_code == 202, origin


def test_a_page_of_another_site_cannot_change_anything_without_saying_where_it_is(gateway: Running) -> None:
    crossed = {"Sec-Fetch-Site": "cross-site"}
    problem_of(gateway.http.post("/denoise", files={"image": png()}, headers=crossed), 421, "host-refused")
    problem_of(gateway.http.delete("/jobs/x", headers=crossed), 421, "host-refused")
    assert gateway.http.get("/", headers=crossed | {"Accept": "text/html"}).status_code == 200  # a link into the page
    for site in ("same-origin", "same-site", "none"):
        answer = gateway.http.post("/denoise", files={"image": png()}, headers={"Sec-Fetch-Site": site})
        assert answer.status_code == 202


@pytest.fixture
def behind_a_firewall(tmp_path: Path) -> Iterator[Running]:
    """A gateway without keys that the operator lets listen everywhere, by two names."""
    names = "b2s.lab.example, Microscope"
    with running_gateway(tmp_path, host="0.0.0.0", allow_open=True, allowed_hosts=names) as gateway:
        yield gateway


def test_an_open_gateway_that_is_reached_from_elsewhere_answers_to_known_names(behind_a_firewall: Running) -> None:
    http = behind_a_firewall.http
    for host in ("attacker.example", "192.168.1.5.nip.io", "b2s.lab.example.evil.example"):
        problem_of(http.get("/jobs", headers={"Host": host}), 421, "host-refused")
    for host in ("b2s.lab.example", "microscope:8000", "192.168.1.5", "[fd00::5]:8000", "localhost"):
        assert http.get("/jobs", headers={"Host": host}).status_code == 200, host


@pytest.mark.parametrize(
    ("origin", "taken"),
    [
        ("https://attacker.example", False), ("null", False), ("http://10.9.9.9", False), ("http://[::1", False),
        ("http://192.168.1.5:8000", True), ("https://b2s.lab.example", True), ("http://microscope", True),
    ],
)  # fmt: skip
def test_pages_of_others_cannot_post_to_it_either(behind_a_firewall: Running, origin: str, taken: bool) -> None:
    headers = {"Host": "192.168.1.5:8000", "Origin": origin}
    answer = behind_a_firewall.http.post("/denoise", files={"image": png()}, headers=headers)
    assert (answer.status_code == 202) is taken
    assert taken or answer.json()["type"] == "/problems/host-refused"


def start(tmp_path: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m service`, which is expected to refuse."""
    environment = {"PATH": os.environ["PATH"], "B2S_DATA_DIR": str(tmp_path), **changes}
    return subprocess.run(
        [sys.executable, "-m", "service"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_refused_start_is_one_sentence_that_names_the_variable(tmp_path: Path) -> None:
    upgraded = tmp_path / "upgraded"
    upgraded.mkdir()
    upgrade(connect(f"sqlite:///{upgraded / 'b2s.sqlite3'}"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        cases = {
            "PORT": start(tmp_path, PORT=port),
            "B2S_ALLOW_OPEN": start(upgraded, HOST="0.0.0.0", PORT=str(free_port())),
            "B2S_MAX_PIXELS": start(tmp_path, B2S_MAX_PIXELS="many"),
            "B2S_DATABASE_URL": start(tmp_path, B2S_DATABASE_URL="mysql://x/y"),
            "store.migrate": start(tmp_path),
        }
    for name, refused in cases.items():
        assert refused.returncode == 1, name
        assert name in refused.stderr
        assert "Traceback" not in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1
