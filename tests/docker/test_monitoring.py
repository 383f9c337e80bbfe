"""Rules and dashboards ask for series that exist, with labels that they have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from courier.metrics import CourierMetrics
from service.health import QueueCollector
from service.metrics import GatewayMetrics
from store.job import Job, JobKind
from store.webhooks import DeliveryState
from tests.docker.scripts import script
from tests.stores import Store
from tests.worker.driver import driver
from worker.gpu import GpuCollector
from worker.metrics import WorkerMetrics

ROOT = Path(__file__).parents[2]
RULES: dict[str, Any] = yaml.safe_load((ROOT / "docker" / "prometheus" / "rules.yml").read_text())
ALL_RULES = [rule for group in RULES["groups"] for rule in group["rules"]]
DASHBOARDS = sorted((ROOT / "docker" / "grafana" / "dashboards").glob("*.json"))


def queries() -> dict[str, str]:
    found = {rule.get("record", rule.get("alert")): rule["expr"] for rule in ALL_RULES}
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            found |= {f"{path.stem}: {panel['title']} {t['refId']}": t["expr"] for t in panel["targets"]}
    return found


@pytest.fixture
def series(store: Store, monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """Every series that gateway, worker and courier give, with its labels, each used once."""
    texts = []
    gateway = GatewayMetrics()
    gateway.observe_request("GET", "/jobs", 200, 0.1)
    gateway.observe_upload(1)
    job = store.queued()
    texts.append(gateway.exposition(QueueCollector(store.jobs, _webhooks(store))))
    registry = CollectorRegistry()
    monkeypatch.setattr("worker.metrics.CollectorRegistry", lambda: registry)
    _use(WorkerMetrics(), job)
    texts.append(generate_latest(registry))
    driver(monkeypatch, gpus=1)
    registry = CollectorRegistry()
    registry.register(GpuCollector())
    texts.append(generate_latest(registry))
    courier = CourierMetrics()
    courier.observe_attempt(0.1, DeliveryState.DELIVERED, 1.0)
    texts.append(generate_latest(courier.registry))
    found: dict[str, set[str]] = {"up": {"job", "instance"}}
    for family in (family for text in texts for family in text_string_to_metric_families(text.decode())):
        for sample in family.samples:
            # Prometheus adds the instance
            found.setdefault(sample.name, {"instance"}).update(sample.labels)
    return found


def _webhooks(store: Store) -> Any:
    from store.webhooks import Webhooks

    return Webhooks(store.engine)


def _use(metrics: WorkerMetrics, job: Job) -> None:
    assert job.kind is JobKind.DENOISE
    metrics.observe_attempt(job, "succeeded", {"compute": 1.0, "queued": 1.0}, 1)
    metrics.observe_sweep("requeued", 1)
    metrics.observe_files(1, 0)
    metrics.observe_model(True)
    metrics.observe_checkpoint(True)
    metrics.observe_oom(1)


def test_every_query_asks_for_series_that_exist(series: dict[str, set[str]]) -> None:
    recorded = {rule["record"] for rule in ALL_RULES if "record" in rule}
    asked = queries()
    assert len(asked) > 35
    for name, expression in asked.items():
        used = set(re.findall(r"\b(?:b2s[:_][\w:]+|up)\b", expression))
        assert used, name
        assert used <= series.keys() | recorded, (name, used - series.keys() - recorded)
        for metric, matchers in re.findall(r"\b(b2s_\w+|up)\{([^}]*)\}", expression):
            assert set(re.findall(r"(\w+)\s*(?:=|!)", matchers)) <= series[metric], (name, metric)


def test_every_alert_says_symptom_check_and_cure() -> None:
    alerts = [rule for rule in ALL_RULES if "alert" in rule]
    assert len(alerts) >= 10
    for alert in alerts:
        assert alert["labels"]["severity"] in ("page", "ticket")
        assert alert["annotations"].keys() == {"symptom", "check", "cure"}, alert["alert"]


def test_every_alert_has_a_unit_test() -> None:
    tests = (ROOT / "docker" / "prometheus" / "rules_test.yml").read_text()
    for rule in ALL_RULES:
        if "alert" in rule:
            assert f"alertname: {rule['alert']} }}" in tests, rule["alert"]


def test_the_dashboards_are_those_of_the_list() -> None:
    make = script("docker/grafana/make.py")
    assert {path.stem: path.read_text() for path in DASHBOARDS} == {name: make.text(name) for name in make.DASHBOARDS}


def test_the_workers_ports_are_scraped() -> None:
    config = yaml.safe_load((ROOT / "docker" / "prometheus" / "prometheus.yml").read_text())
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    asked = {name for job in config["scrape_configs"] for dns in job["dns_sd_configs"] for name in dns["names"]}
    assert asked == {"gateway", "courier", "denoise", "denoise-gpu", "finetune", "finetune-gpu"} <= compose.keys()
