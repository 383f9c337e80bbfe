"""Rules and dashboards ask for series that exist, with labels that they have."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from courier.metrics import CourierMetrics
from service.edge.metrics import GatewayMetrics
from service.routes.health import QueueCollector
from store.job import Job, JobKind
from store.webhooks import DeliveryState
from tests.docker.queries import ALERTS, DASHBOARDS, ROOT, RULES, RULES_FILE, queries
from tests.harness.driver import driver
from tests.harness.scripts import script
from tests.harness.stores import Store
from worker.gpu import GpuCollector
from worker.metrics import WorkerMetrics

RULES_TEST = RULES_FILE.with_name("rules_test.yml")


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
    metrics.observe_compute("ncnn-float32", 1)


def test_every_query_asks_for_series_that_exist(series: dict[str, set[str]]) -> None:
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    asked = queries()
    assert len(asked) > 35
    for name, expression in asked.items():
        used = set(re.findall(r"\b(?:b2s[:_][\w:]+|up)\b", expression))
        assert used, name
        assert used <= series.keys() | recorded, (name, used - series.keys() - recorded)
        for metric, matchers in re.findall(r"\b(b2s_\w+|up)\{([^}]*)\}", expression):
            assert set(re.findall(r"(\w+)\s*(?:=|!)", matchers)) <= series[metric], (name, metric)


def test_every_alert_says_symptom_check_and_cure() -> None:
    assert len(ALERTS) >= 15
    for alert in ALERTS:
        assert alert["labels"]["severity"] in ("page", "ticket")
        assert alert["annotations"].keys() == {"symptom", "check", "cure"}, alert["alert"]


def test_every_alert_has_a_unit_test() -> None:
    tests = yaml.safe_load(RULES_TEST.read_text())["tests"]
    healthy, ill, _ = tests
    names = {alert["alert"] for alert in ALERTS}
    assert {one["alertname"] for one in healthy["alert_rule_test"] if not one.get("exp_alerts")} == names
    assert ill["promql_expr_test"][0]["exp_samples"][0]["value"] == len(names)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool here (Debian: apt install prometheus)")
def test_the_rules_pass_their_unit_tests() -> None:
    run = subprocess.run(["promtool", "test", "rules", RULES_TEST], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_dashboards_are_those_of_the_list() -> None:
    make = script("docker/grafana/make.py")
    assert {path.stem: path.read_text() for path in DASHBOARDS} == {name: make.text(name) for name in make.DASHBOARDS}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_explains_itself_and_leads_to_the_others(path: Path) -> None:
    board = json.loads(path.read_text())
    assert board["description"]
    assert [(link["type"], link["tags"]) for link in board["links"]] == [("dashboards", board["tags"])]
    for panel in board["panels"]:
        assert panel["description"].endswith("."), panel["title"]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in board["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells) and max(x for x, _ in cells) < 24, "panels lie on each other"


def test_a_tile_turns_red_where_its_alert_fires() -> None:
    """Alerts compare `absent(… == n)` or `… > bound`; Grafana colours a value from a bound on, that one included."""
    rules = {alert["alert"]: alert["expr"] for alert in ALERTS}
    boards = script("docker/grafana/make.py").DASHBOARDS
    tiles = [tile for board in boards.values() for tile in board.tiles]
    assert all(board.tiles for board in boards.values())
    for tile in tiles:
        assert (tile.at_least is None) != (tile.bad is None), tile.title
        assert tile.warning is None or tile.bad is None or tile.warning < tile.bad, tile.title
        if tile.alert is None:
            continue
        bound = float(re.search(r"(?:>=|>|==) ([\d.]+)\)?$", rules[tile.alert]).group(1))  # type: ignore[union-attr]
        if tile.at_least is not None:
            assert tile.at_least in (bound, bound + 1), tile.title
        else:
            assert tile.bad == bound or (bound == 0 and 0 < tile.bad < 1), tile.title


def test_the_workers_ports_are_scraped() -> None:
    config = yaml.safe_load((ROOT / "docker" / "prometheus" / "prometheus.yml").read_text())
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    asked = {name for job in config["scrape_configs"] for dns in job["dns_sd_configs"] for name in dns["names"]}
    assert asked == {"gateway", "courier", "denoise", "denoise-gpu", "finetune", "finetune-gpu"} <= compose.keys()
