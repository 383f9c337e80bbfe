"""docker-compose.yml keeps its promises: one open door, nothing that can be broken out of, no secret of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from store.keys import KEY
from store.settings import Settings, variable
from tests.harness.ports import free_port
from tests.harness.scripts import script

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()
ONCE = {"migrate", "bucket", "volumes"}
CAPABILITIES = {"proxy": ["NET_BIND_SERVICE"], "volumes": ["CHOWN", "DAC_READ_SEARCH"]}
OWN = {
    "B2S_DATA_DIR", "HOST", "PORT", "B2S_ALLOW_OPEN", "B2S_SCRATCH_DIR", "B2S_SHUTDOWN_SECONDS", "B2S_LOG_FORMAT",
    "B2S_METRICS_HOST", "B2S_METRICS_PORT", "B2S_FINETUNE_METRICS_PORT", "B2S_COURIER_METRICS_PORT",
}  # fmt: skip
"""Settings that go with other lines of the Compose file or the Dockerfile, and are theirs."""

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
    stores = {"redis", "postgres", "s3", "bucket", "migrate", "volumes"}
    assert SERVICES.keys() == SCALABLE | stores | {"proxy", "prometheus", "alertmanager", "grafana"}


def test_only_the_proxy_is_open_and_only_three_reach_the_outside() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]
    outside = {name for name, service in SERVICES.items() if "outside" in service.get("networks", [])}
    assert outside == {"proxy", "courier", "alertmanager"}
    assert [name for name, service in SERVICES.items() if "networks" not in service] == ["volumes"]
    assert SERVICES["volumes"]["network_mode"] == "none"
    assert COMPOSE["networks"]["inside"]["internal"] is True


def test_the_proxy_hides_the_numbers_of_all_tenants() -> None:
    caddyfile = (ROOT / "docker" / "Caddyfile").read_text()
    assert "path /metrics /v1/metrics" in caddyfile and "read_header" in caddyfile


@pytest.mark.server
@pytest.mark.skipif(shutil.which("caddy") is None, reason="no caddy here (Debian: apt install caddy)")
def test_the_real_proxy_hides_them(tmp_path: Path) -> None:
    site, admin = (f"127.0.0.1:{free_port()}" for _ in range(2))
    folders = {"XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    settings = {"B2S_SITE": f"http://{site}", "CADDY_ADMIN": admin, **folders}
    command = ["caddy", "run", "--config", "docker/Caddyfile", "--adapter", "caddyfile"]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | settings, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://{site}", transport=httpx.HTTPTransport(retries=6), timeout=30) as http:
            answers = {path: http.get(path).status_code for path in ("/metrics", "/v1/metrics", "/livez")}
    finally:
        process.terminate()
        process.wait()
    assert answers == {"/metrics": 404, "/v1/metrics": 404, "/livez": 503}  # no gateway runs here


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "memory" in service["deploy"]["resources"]["limits"]
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}  # no log fills the disk
    assert not service.get("privileged") and "docker.sock" not in str(service)
    assert service.get("cap_add", []) == CAPABILITIES.get(name, [])
    if "build" not in service:
        assert re.search(r":(v?\d+\.\d+|RELEASE\.\d)", service["image"]), "pin the image"


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - {"volumes"}))
def test_no_service_runs_as_root(name: str) -> None:
    service = SERVICES[name]
    if "build" in service:  # the Dockerfile's user: test_images.py
        assert "user" not in service
    else:
        assert re.fullmatch(r"[1-9]\d*:\d+", service["user"])


def test_the_one_root_is_gone_before_anything_listens() -> None:
    volumes = SERVICES["volumes"]
    assert (volumes["user"], volumes["restart"], volumes["network_mode"]) == ("0:0", "no", "none")
    users = {name for name, service in SERVICES.items() if "volumes" in service.get("depends_on", {})}
    assert users == {"proxy", "s3"}
    assert {SERVICES[name]["user"] for name in users} == {"10001:10001"}
    given = {volume.partition(":")[0] for volume in volumes["volumes"]}
    assert given == {"caddy", "s3"}


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root, and Linux' setpriv")
def test_folders_of_root_are_given_away_with_two_capabilities(tmp_path: Path) -> None:
    """Also what a first run that was cut off left half done, where root may not look any more without the second."""
    volumes = SERVICES["volumes"]
    kept = ",".join(f"+{name.lower()}" for name in volumes["cap_add"])
    run = [
        "setpriv",
        f"--bounding-set=-all,{kept}",
        f"--inh-caps=-all,{kept}",
        "--no-new-privs",
        *volumes["entrypoint"],
    ]
    script = volumes["command"][0].replace("$$", "$")
    for folder in ("caddy", "s3"):
        (tmp_path / folder / ".minio.sys" / "closed").mkdir(parents=True)
        (tmp_path / folder / ".minio.sys" / "closed" / "file").write_text("x")
        (tmp_path / folder / ".minio.sys").chmod(0o700)
        os.chown(tmp_path / folder / ".minio.sys", 10001, 10001)
        script = script.replace(f"/{folder}", str(tmp_path / folder), 1)
    for _ in range(2):
        subprocess.run([*run, script], check=True)
        assert {path.stat().st_uid for path in tmp_path.rglob("*")} == {10001}


def test_the_proxy_may_open_its_ports_without_being_root() -> None:
    first = SERVICES["proxy"]["sysctls"]["net.ipv4.ip_unprivileged_port_start"]
    ports = [port.split("/")[0].split(":")[1] for port in SERVICES["proxy"]["ports"]]
    assert all(int(first) <= int(port) for port in ports)


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
        "alertmanager": "alertmanager:/alertmanager",
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


@pytest.mark.parametrize("name", sorted(SCALABLE | {"migrate"}))
def test_settings_of_dot_env_reach_every_process(name: str) -> None:
    """All but those that Compose or the images decide; of what `.env` holds, nothing else reaches a process."""
    environment = SERVICES[name]["environment"]
    settings = {variable(field) for field in Settings.model_fields}
    decided = {"B2S_DATABASE_URL", "B2S_BLOB_URL", "B2S_REDIS_URL"}
    assert all(environment[one] for one in decided)
    passed = {one for one, value in environment.items() if value is None and not one.startswith("OTEL_")}
    assert passed == settings - decided - OWN
    assert "env_file" not in SERVICES[name]
    lines = re.findall(r"^ENV .*", DOCKERFILE.replace("\\\n", ""), re.M)
    images = set(re.findall(r"(\w+)=", " ".join(lines)))
    assert "B2S_METRICS_HOST" in images and not passed & images  # Docker unsets what is passed without a value


def test_the_documents_say_how_to_set_them() -> None:
    section = (ROOT / "docs" / "operating.md").read_text().partition("## With Docker Compose")[2].partition("\n## ")[0]
    (line,) = re.findall(r"^Settings .* go into `\.env`.*`(B2S_\w+)=", section, re.M)
    assert line in SERVICES["gateway"]["environment"]


def test_a_restore_meets_an_empty_system() -> None:
    """`run migrate …` starts what `migrate` needs, none of which writes rows, and replaces the command that does."""
    section = (ROOT / "docs" / "operating.md").read_text().partition("## With Docker Compose")[2].partition("\n## ")[0]
    run = "docker compose run --rm -T migrate python -m ops"
    assert f"(umask 077; {run} backup - > b2s.tar)" in section
    assert section.index(f"{run} restore - < b2s.tar") < section.rindex("docker compose up -d --build")
    started, todo = set[str](), ["migrate"]
    while todo:
        needed = SERVICES[todo.pop()].get("depends_on", {}).keys() - started
        started |= needed
        todo += needed
    assert started == {"postgres", "bucket", "s3", "volumes"}
    assert "entrypoint" not in SERVICES["migrate"] and "ENTRYPOINT" not in DOCKERFILE


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
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    assert written["S3_ROOT_USER"] != written["S3_ACCESS_KEY"]
    assert setup.main([], tmp_path) == 1  # what is there stays
    assert dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines()) == written


def test_setup_adds_what_an_older_env_lacks_and_changes_nothing_else(tmp_path: Path) -> None:
    setup = script("docker/setup.py")
    assert setup.main([], tmp_path) == 0
    env = tmp_path / ".env"
    older = [line for line in env.read_text().splitlines() if not line.startswith("S3_ROOT_")]
    env.write_text("\n".join([*older, "B2S_RESULT_HOURS=24"]))  # and no end of line, as an editor may leave it
    assert setup.main([], tmp_path) == 0
    lines = env.read_text().splitlines()
    assert lines[:-2] == [*older, "B2S_RESULT_HOURS=24"]
    assert [line.partition("=")[0] for line in lines[-2:]] == ["S3_ROOT_USER", "S3_ROOT_PASSWORD"]
    assert env.stat().st_mode & 0o077 == 0
    assert setup.main([], tmp_path) == 1


def test_only_the_stores_own_containers_have_their_roots() -> None:
    """What the service gets instead, and may do with it: `tests/docker/test_owners.py`."""
    with_root = {name for name, service in SERVICES.items() if "S3_ROOT" in str(service)}
    assert with_root == {"s3", "bucket"}
    assert "POSTGRES_USER" not in SERVICES["postgres"]["environment"]
    for name, file in (("postgres", "./docker/postgres/owner.sh"), ("bucket", "./docker/s3")):
        (mounted,) = [one for one in SERVICES[name]["volumes"] if one.startswith(file)]
        assert mounted.endswith(":ro") and (ROOT / file).exists()
