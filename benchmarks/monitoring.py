"""Every query of every dashboard and rule against a real Prometheus: `python -m benchmarks.monitoring`.

It needs `prometheus` on PATH (Debian: apt install prometheus). It starts the whole service on free ports and, with our
rules, a Prometheus that scrapes it every second, sends images (each with a webhook) and one fine-tune, and prints how
many series every query gave whose value is a number. Exit status 1 when one gave none. A driver of our own stands in
for NVIDIA's, so that the panels of GPUs have something to show.
"""

import json
import math
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
import yaml

from tests.courier.receiver import receiving, status
from tests.e2e.service_process import ROOT, Service, free_port, running_service

PORTS = {
    "denoise": "B2S_METRICS_PORT",
    "finetune": "B2S_FINETUNE_METRICS_PORT",
    "courier": "B2S_COURIER_METRICS_PORT",
}
"""Who is scraped beside the gateway, and the variable of its port."""


def main(seconds: Annotated[int, typer.Option(help="How long to send images.")] = 180) -> None:
    """Measure and print."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as name:
        folder, ports = Path(name), {job: free_port() for job in PORTS}
        environment = {variable: str(ports[job]) for job, variable in PORTS.items()} | {
            "B2S_MIN_SET_PIXELS": "1000",
            "B2S_CHECKPOINT_SECONDS": "0.5",
            "B2S_WEBHOOK_PRIVATE": "1",
            "PYTHONPATH": str(ROOT / "benchmarks/fake_driver"),
        }
        with receiving(status(200)) as receiver, running_service(folder, **environment) as service:
            targets = {"gateway": service.url.removeprefix("http://")}
            targets |= {job: f"127.0.0.1:{port}" for job, port in ports.items()}
            with prometheus(folder, targets) as url:
                load(service, receiver.url, seconds)
                found = {name: series(url, query) for name, query in queries().items()}
    for name, count in found.items():
        typer.echo(f"{count:5d}  {name}")
    empty = [name for name, count in found.items() if count == 0]
    typer.echo(f"{len(found) - len(empty)} of {len(found)} queries gave data")
    raise SystemExit(bool(empty))


def queries() -> dict[str, str]:
    """Every expression by its name; of an alert what it compares, since a healthy service raises none."""
    rules = yaml.safe_load((ROOT / "docker/prometheus/rules.yml").read_text())
    found: dict[str, str] = {}
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        expression = rule["expr"] if "record" in rule else _compared(rule["expr"])
        found[f"rule {rule.get('record', rule.get('alert'))}"] = expression
    for path in sorted((ROOT / "docker/grafana/dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            found |= {f"{path.stem}: {panel['title']} {t['refId']}": t["expr"] for t in panel["targets"]}
    return found


def _compared(expression: str) -> str:
    inner = expression.removeprefix("absent(").removesuffix(")") if expression.startswith("absent(") else expression
    for sign in (" > ", " == "):
        if sign in inner:
            return inner.rsplit(sign, 1)[0]
    raise ValueError(f"no comparison in {expression}")


@contextmanager
def prometheus(folder: Path, targets: dict[str, str]) -> Iterator[str]:
    """Run a Prometheus over these targets; its URL."""
    scrapes = [{"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in targets.items()]
    config: dict[str, Any] = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ROOT / "docker/prometheus/rules.yml")],
        "scrape_configs": scrapes,
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = [
        "prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address={address}", "--log.level=warn",
    ]  # fmt: skip
    process = subprocess.Popen(command)
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait()


def load(service: Service, webhook: str, seconds: int) -> None:
    """Send small images one after another, a fine-tune before them, and wait for its end."""
    image = (ROOT / "examples/noisy.png").read_bytes()
    with httpx.Client(base_url=service.url, timeout=300) as http:
        files = [("images", (f"{number}.png", image)) for number in range(4)]
        posted = http.post("/finetune", files=files, data={"max_steps": "20", "max_minutes": "2"})
        posted.raise_for_status()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            http.post("/denoise?wait=60", files={"image": image}, data={"webhook_url": webhook}).raise_for_status()
            http.get("/jobs").raise_for_status()
        while http.get(f"/jobs/{posted.json()['id']}?wait=60").json()["finished_at"] is None:
            typer.echo("waiting for the fine-tune")


def series(url: str, query: str) -> int:
    """How many series a query gives, those left out whose value is no number: 0 / 0 draws nothing."""
    answer = httpx.get(f"{url}/api/v1/query", params={"query": query}, timeout=60).json()
    if answer["status"] != "success":
        raise ValueError(f"{query}: {answer}")
    return sum(not math.isnan(float(one["value"][1])) for one in answer["data"]["result"])


if __name__ == "__main__":
    typer.run(main)
