"""docker-compose.yml keeps its promises: one open door, nothing that can be broken out of, no secret of its own."""

from __future__ import annotations

import re
import subprocess
import sys
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
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()
ONCE = {"migrate", "bucket"}
SCALABLE = {"gateway", "courier", "denoise", "finetune", "denoise-gpu", "finetune-gpu"}


def test_it_fits_the_published_schema() -> None:
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        "docker-compose.yml",
    ]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_all_that_the_service_needs_is_there() -> None:
    stores = {"redis", "postgres", "s3", "bucket", "migrate"}
    assert SERVICES.keys() == SCALABLE | stores | {"proxy", "prometheus", "grafana"}


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
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}  # no log fills the disk
    assert not service.get("privileged") and "docker.sock" not in str(service)
    assert service.get("user", "nobody") not in ("root", "0")
    if "build" not in service:
        assert re.search(r":(v?\d+\.\d+|RELEASE\.\d)", service["image"]), "pin the image"


@pytest.mark.parametrize("name", SERVICES)
def test_what_dies_is_started_again_and_what_hangs_is_seen(name: str) -> None:
    service = SERVICES[name]
    if name in ONCE:
        assert service["restart"] == "no" and service["healthcheck"] == {"disable": True}
        return
    assert service["restart"] == "unless-stopped"
    if "healthcheck" in service:
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    else:  # then its image has one
        assert re.search(rf"^FROM base AS {service['build']['target']}$.*?^HEALTHCHECK ", DOCKERFILE, re.M | re.S)


def test_nothing_starts_before_what_it_needs() -> None:
    for name in SCALABLE:
        assert SERVICES[name]["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"},
            "redis": {"condition": "service_healthy"},
        }
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            done = "service_completed_successfully" if needed in ONCE else "service_healthy"
            assert how == {"condition": done}, (name, needed)


@pytest.mark.parametrize("name", sorted(SCALABLE))
def test_it_can_be_scaled(name: str) -> None:
    service = SERVICES[name]
    assert "container_name" not in service and "ports" not in service and "scale" not in service
    assert service["volumes"] == ["spool:/spool"]  # nothing of its own: rows, blobs and rings are elsewhere


@pytest.mark.parametrize("name", ["denoise", "finetune"])
def test_the_gpu_profile_swaps_the_workers(name: str) -> None:
    on_cpu, on_gpu = SERVICES[name], SERVICES[f"{name}-gpu"]
    assert (on_cpu["profiles"], on_gpu["profiles"]) == (["cpu"], ["gpu"])
    (device,) = on_gpu["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert "reservations" not in on_cpu["deploy"]["resources"]
    differ = {"profiles", "image", "build", "deploy"}
    assert {key: on_cpu[key] for key in on_cpu.keys() - differ} == {key: on_gpu[key] for key in on_gpu.keys() - differ}
    assert on_gpu["build"] == on_cpu["build"] | {"args": {"TORCH_INDEX": "https://pypi.org/simple"}}
    assert on_gpu["image"] != on_cpu["image"]


def test_what_is_kept_lies_in_volumes() -> None:
    kept = {
        "postgres": "postgres:/var/lib/postgresql/data",
        "redis": "redis:/data",
        "s3": "s3:/data",
        "proxy": "caddy:/data",
        "prometheus": "prometheus:/prometheus",
        "grafana": "grafana:/var/lib/grafana",
    }
    for name, volume in kept.items():
        assert volume in SERVICES[name]["volumes"]
    mounted = {volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert {name for name in mounted if not name.startswith(".")} == COMPOSE["volumes"].keys()


def test_redis_writes_down_what_it_has_and_drops_nothing() -> None:
    command = SERVICES["redis"]["command"]
    assert command[command.index("--appendonly") + 1] == "yes"
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"


def test_no_secret_has_a_default() -> None:
    secrets = re.findall(r"\$\{(\w*(?:PASSWORD|KEY)\w*)([^}]*)\}", TEXT)
    assert len(secrets) >= 6
    assert all(rest.startswith(":?") for _, rest in secrets)


def test_settings_that_are_set_exist() -> None:
    known = {variable(field) for field in Settings.model_fields} | {"B2S_SITE"}
    assert set(re.findall(r"\bB2S_[A-Z_]+", TEXT + DOCKERFILE)) <= known


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
