"""`python docker/grafana/make.py`: write the dashboards of `panels.py`. How a panel looks is decided here, once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from panels import DASHBOARDS, Panel, Tile

HERE = Path(__file__).parent / "dashboards"
COLUMNS = 24  # of Grafana's grid
TILE_HEIGHT, WIDTH, HEIGHT = 4, 12, 8
PROMETHEUS = {"type": "prometheus", "uid": "prometheus"}
GOOD, WARNING, BAD = "green", "orange", "red"
LINKS = [{
    "type": "dashboards", "tags": ["b2s"], "title": "Other dashboards", "asDropdown": False, "keepTime": True,
    "includeVars": False, "targetBlank": False, "icon": "dashboard", "tooltip": "", "url": "",
}]  # fmt: skip


def dashboard(name: str) -> dict[str, Any]:
    """One dashboard as Grafana reads it: a row of tiles, and below it the panels, two beside each other."""
    board = DASHBOARDS[name]
    tiles = [_tile(number, tile, COLUMNS // len(board.tiles)) for number, tile in enumerate(board.tiles)]
    panels = [_panel(number, len(tiles), panel) for number, panel in enumerate(board.panels)]
    return {
        "uid": f"b2s-{name}", "title": board.title, "description": board.description, "tags": ["b2s"],
        "timezone": "utc", "schemaVersion": 41, "refresh": "30s", "time": {"from": "now-3h", "to": "now"},
        "links": LINKS, "panels": tiles + panels,
    }  # fmt: skip


def text(name: str) -> str:
    """The file of a dashboard."""
    return json.dumps(dashboard(name), indent=1) + "\n"


def _tile(number: int, tile: Tile, width: int) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "unit": tile.unit, "color": {"mode": "thresholds"}, "noValue": "no data",
        "thresholds": {"mode": "absolute", "steps": _steps(tile)},
    }  # fmt: skip
    return {
        "id": number + 1, "type": "stat", "title": tile.title, "description": tile.description,
        "gridPos": {"x": number * width, "y": 0, "w": width, "h": TILE_HEIGHT}, "datasource": PROMETHEUS,
        "targets": [_target(0, tile.query, "")],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {
            "colorMode": "background", "graphMode": "area", "justifyMode": "auto", "textMode": "value",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        },
    }  # fmt: skip


def _steps(tile: Tile) -> list[dict[str, Any]]:
    """Colours from the lowest value up."""
    if tile.at_least is not None:
        return [{"color": BAD, "value": None}, {"color": GOOD, "value": tile.at_least}]
    bounds = [(WARNING, tile.warning), (BAD, tile.bad)]
    above = [{"color": color, "value": bound} for color, bound in bounds if bound is not None]
    return [{"color": GOOD, "value": None}, *above]


def _panel(number: int, tiles: int, panel: Panel) -> dict[str, Any]:
    place = {"x": number % 2 * WIDTH, "y": TILE_HEIGHT + number // 2 * HEIGHT, "w": WIDTH, "h": HEIGHT}
    return {
        "id": tiles + number + 1, "type": "timeseries", "title": panel.title, "description": panel.description,
        "gridPos": place, "datasource": PROMETHEUS,
        "targets": [_target(index, *query) for index, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
    }  # fmt: skip


def _target(index: int, expression: str, legend: str) -> dict[str, Any]:
    return {"refId": chr(ord("A") + index), "expr": expression, "legendFormat": legend, "datasource": PROMETHEUS}


def main() -> None:
    """Write every dashboard."""
    HERE.mkdir(exist_ok=True)
    for name in DASHBOARDS:
        (HERE / f"{name}.json").write_text(text(name))


if __name__ == "__main__":
    main()
