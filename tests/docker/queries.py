"""What rules and dashboards ask Prometheus for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
RULES_FILE = ROOT / "docker" / "prometheus" / "rules.yml"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES_FILE.read_text())["groups"] for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
DASHBOARDS = sorted((ROOT / "docker" / "grafana" / "dashboards").glob("*.json"))


def queries() -> dict[str, str]:
    """Every expression of a rule or panel, by its name."""
    found = {f"rule {rule.get('record', rule.get('alert'))}": rule["expr"] for rule in RULES}
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            found |= {f"{path.stem} {panel['id']}: {panel['title']} {t['refId']}": t["expr"] for t in panel["targets"]}
    return found


def compared(expression: str) -> str:
    """What an alert compares with its bound: of a healthy service the alert itself gives nothing."""
    inner = expression.removeprefix("absent(").removesuffix(")") if expression.startswith("absent(") else expression
    for sign in (" > ", " >= ", " == "):
        if sign in inner:
            return inner.rsplit(sign, 1)[0]
    raise ValueError(f"no comparison in {expression}")
