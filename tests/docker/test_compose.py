"""docker-compose.yml keeps its promises: one open door, no secret of its own, settings that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from store.keys import KEY
from store.settings import Settings, variable
from tests.docker.scripts import script

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def test_only_the_proxy_is_open_and_only_two_reach_the_outside() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]
    assert {name for name, service in SERVICES.items() if "outside" in service["networks"]} == {"proxy", "courier"}
    assert COMPOSE["networks"]["inside"]["internal"] is True


def test_the_proxy_hides_the_numbers_of_all_tenants() -> None:
    caddyfile = (ROOT / "docker" / "Caddyfile").read_text()
    assert "path /metrics /v1/metrics" in caddyfile and "read_header" in caddyfile


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "memory" in service["deploy"]["resources"]["limits"]
    assert not service.get("privileged") and "docker.sock" not in str(service)
    if "build" not in service:
        assert re.search(r":(v?\d+\.\d+|RELEASE\.)", service["image"]), "pin the image"
        assert "healthcheck" in service
    once = service["restart"] == "no"
    assert once == (name in ("migrate", "bucket"))


def test_no_secret_has_a_default() -> None:
    secrets = re.findall(r"\$\{(\w*(?:PASSWORD|KEY)\w*)([^}]*)\}", TEXT)
    assert len(secrets) >= 6
    assert all(rest.startswith(":?") for _, rest in secrets)


def test_settings_that_are_set_exist() -> None:
    known = {variable(field) for field in Settings.model_fields} | {"B2S_SITE"}
    docker = TEXT + (ROOT / "docker" / "Dockerfile").read_text()
    assert set(re.findall(r"\bB2S_[A-Z_]+", docker)) <= known


def test_setup_makes_every_secret_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    setup = script("docker/setup.py")
    assert setup.main(["--gpu", "--site", "denoise.example"], tmp_path) == 0
    written = dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines())
    assert set(re.findall(r"\$\{(\w+):\?", TEXT)) <= written.keys()
    assert (written["COMPOSE_PROFILES"], written["B2S_SITE"]) == ("gpu", "denoise.example")
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    assert KEY.fullmatch((tmp_path / "secrets" / "operator.key").read_text().strip())
    said = capsys.readouterr()
    assert not any(value in said.out for name, value in written.items() if "PASSWORD" in name or "KEY" in name)
    assert setup.main([], tmp_path) == 1  # what is there stays
    assert dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines()) == written
