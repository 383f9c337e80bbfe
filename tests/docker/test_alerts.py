"""Alerts reach the receiver that docker/setup.py was told of: a real Prometheus, a real Alertmanager, a real receiver.

Debian's programs (apt install prometheus prometheus-alertmanager); without them the tests that need one are skipped.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.docker.queries import ALERTS, ROOT, RULES_FILE
from tests.docker.running import needs_prometheus, running, running_prometheus, until
from tests.harness.ports import free_port
from tests.harness.receiver import Receiver, receiving, status
from tests.harness.scripts import script

PROMETHEUS = yaml.safe_load((ROOT / "docker" / "prometheus" / "prometheus.yml").read_text())
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
MAIL = ["--alert-email", "ops@example.org", "--smtp", "smtp.example.org:587"]

alertmanager_program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
needs_alertmanager = pytest.mark.skipif(
    alertmanager_program is None, reason="no Alertmanager here (Debian: apt install)"
)


def config_of(folder: Path, *arguments: str) -> Path:
    """The Alertmanager configuration that `docker/setup.py` writes."""
    assert script("docker/setup.py").main(list(arguments), folder, ask=lambda _: "p4ss") == 0
    return folder / "secrets" / "alertmanager.yml"


@pytest.mark.skipif(
    shutil.which("amtool") is None, reason="no amtool here (Debian: apt install prometheus-alertmanager)"
)
@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--alert-webhook", "https://example.org/hook"],
        MAIL,
        [*MAIL, "--smtp-user", "b2s", "--smtp-from", "b2s@example.org", "--alert-webhook", "https://example.org/hook"],
    ],
    ids=["nobody", "webhook", "mail", "both"],
)
def test_what_setup_writes_is_a_configuration(tmp_path: Path, arguments: list[str]) -> None:
    path = config_of(tmp_path, *arguments)
    run = subprocess.run(["amtool", "check-config", path], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_receiver_can_be_changed_and_nothing_else_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = config_of(tmp_path)
    assert "Alerts reach nobody yet" in capsys.readouterr().out
    before = (tmp_path / ".env").read_text(), (tmp_path / "secrets" / "operator.key").read_text()
    config_of(tmp_path, *MAIL, "--smtp-user", "b2s")
    config = json.loads(path.read_text())
    assert config["receivers"][0]["email_configs"][0]["to"] == "ops@example.org"
    assert config["global"]["smtp_auth_password"] == "p4ss"
    assert before == ((tmp_path / ".env").read_text(), (tmp_path / "secrets" / "operator.key").read_text())
    assert "p4ss" not in capsys.readouterr().out


def test_an_installation_of_before_alerts_gets_the_file_that_compose_asks_for(tmp_path: Path) -> None:
    config_of(tmp_path).unlink()
    assert config_of(tmp_path).exists()
    (secret,) = COMPOSE["services"]["alertmanager"]["secrets"]
    assert COMPOSE["secrets"][secret]["file"] == "./secrets/alertmanager.yml"
    assert f"--config.file=/run/secrets/{secret}" in COMPOSE["services"]["alertmanager"]["command"]


def test_mail_needs_a_server(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="--smtp"):
        config_of(tmp_path, "--alert-email", "ops@example.org")


def test_inhibitions_name_alerts_that_exist() -> None:
    names = {alert["alert"] for alert in ALERTS}
    for rule in json.loads((ROOT / "docker" / "alertmanager.json").read_text())["inhibit_rules"]:
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            for pattern in matcher.partition('"')[2].strip('"').split("|"):
                assert any(name == pattern or name.startswith(pattern.removesuffix(".*")) for name in names), pattern


def test_prometheus_sends_to_the_alertmanager_of_the_compose_file() -> None:
    (manager,) = PROMETHEUS["alerting"]["alertmanagers"]
    (target,) = manager["static_configs"][0]["targets"]
    assert target == "alertmanager:9093" and "alertmanager" in COMPOSE["services"]


@contextmanager
def alertmanager(folder: Path, receiver: Receiver) -> Iterator[httpx.Client]:
    """An Alertmanager as setup.py configures it, but for the time it waits for more alerts to come."""
    path = config_of(folder, "--alert-webhook", receiver.url)
    config = json.loads(path.read_text())
    config["route"] |= {"group_wait": "1s", "group_interval": "1s"}
    quick = folder / "quick.yml"
    quick.write_text(json.dumps(config))
    address = f"127.0.0.1:{free_port()}"
    command = [
        str(alertmanager_program), f"--config.file={quick}", f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address={address}", "--cluster.listen-address=",
    ]  # fmt: skip
    with running(command, f"http://{address}") as client:
        yield client


def arrived(receiver: Receiver) -> dict[str, dict[str, Any]]:
    """The alerts that were sent so far, by name."""
    bodies = [json.loads(heard.body) for heard in list(receiver.heard)]
    return {alert["labels"]["alertname"]: alert for body in bodies for alert in body["alerts"]}


@needs_alertmanager
@needs_prometheus
def test_a_service_that_is_down_is_told_to_the_receiver(tmp_path: Path) -> None:
    """Nothing runs here, so that gateway, workers and courier are missing; only the rules' patience is cut short."""
    rules = yaml.safe_load(RULES_FILE.read_text())
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        rule.pop("for", None)
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    with receiving(status(200)) as receiver, alertmanager(tmp_path, receiver) as manager:
        (sending,) = PROMETHEUS["alerting"]["alertmanagers"]
        sending = {**sending, "static_configs": [{"targets": [manager.base_url.netloc.decode()]}]}
        config = {
            "global": {"evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "alerting": {"alertmanagers": [sending]},
        }
        # The first alerts come before Prometheus has looked its Alertmanager up, and go to nobody: hence the delay.
        with running_prometheus(tmp_path, config, "--rules.alert.resend-delay=1s"):
            until(lambda: arrived(receiver).keys() >= {"GatewayDown", "NoDenoiseWorker", "CourierDown"})
    down = arrived(receiver)["GatewayDown"]
    assert down["status"] == "firing" and down["labels"]["severity"] == "page"
    assert down["annotations"].keys() == {"symptom", "check", "cure"}


@needs_alertmanager
def test_what_follows_from_another_alert_is_not_told(tmp_path: Path) -> None:
    def alert(name: str, severity: str) -> dict[str, Any]:
        return {"labels": {"alertname": name, "severity": severity}, "startsAt": datetime.now(UTC).isoformat()}

    with receiving(status(200)) as receiver, alertmanager(tmp_path, receiver) as manager:
        fired = [alert("DatabaseDown", "page"), alert("ManyErrors", "page"), alert("WorkersDie", "ticket")]
        manager.post("/api/v2/alerts", json=fired).raise_for_status()
        until(lambda: arrived(receiver).keys() >= {"DatabaseDown", "WorkersDie"})
        states = {one["labels"]["alertname"]: one["status"]["state"] for one in manager.get("/api/v2/alerts").json()}
    assert states == {"DatabaseDown": "active", "ManyErrors": "suppressed", "WorkersDie": "active"}
    assert "ManyErrors" not in arrived(receiver)
