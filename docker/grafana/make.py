"""`python docker/grafana/make.py`: write the dashboards. A panel is a line here; how it looks is left to Grafana."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "dashboards"
WIDTH, HEIGHT = 12, 8
PROMETHEUS = {"type": "prometheus", "uid": "prometheus"}

Panel = tuple[str, str, list[tuple[str, str]]]
"""Title, unit, and queries with their legends."""

DASHBOARDS: dict[str, tuple[str, list[Panel]]] = {
    "service": (
        "b2s: is it up, is it fast?",
        [
            ("Gateways and database up", "short", [
                ('sum(up{job="gateway"})', "gateways"), ("min(b2s_database_up)", "database"),
            ]),
            ("Requests", "reqps", [("sum by (status) (rate(b2s_http_requests_total[5m]))", "{{status}}")]),
            ("Share of requests that fail on our side", "percentunit", [("b2s:errors:ratio5m", "5xx")]),
            ("99th percentile by route, waits left out", "s", [("b2s:request_seconds:p99_5m", "{{route}}")]),
            ("Requests held open for a job", "short", [("sum(b2s_waiting_requests)", "waiting")]),
            ("Uploads", "Bps", [("sum(rate(b2s_upload_bytes_total[5m]))", "image bytes")]),
        ],
    ),
    "queues": (
        "b2s: is it full?",
        [
            ("Queued jobs", "short", [("max by (kind) (b2s_jobs_queued)", "{{kind}}")]),
            ("Age of the oldest queued job", "s", [("max by (kind) (b2s_jobs_oldest_queued_seconds)", "{{kind}}")]),
            ("Running jobs", "short", [("max by (kind) (b2s_jobs_running)", "{{kind}}")]),
            ("Wait in the queue, median and 95th percentile", "s", [
                ('histogram_quantile(0.5, sum by (le, kind) (rate(b2s_stage_seconds_bucket{stage="queued"}[5m])))',
                 "{{kind}} p50"),
                ('histogram_quantile(0.95, sum by (le, kind) (rate(b2s_stage_seconds_bucket{stage="queued"}[5m])))',
                 "{{kind}} p95"),
            ]),
            ("Couriers up", "short", [('sum(up{job="courier"})', "couriers")]),
            ("Webhooks not delivered yet", "short", [("max(b2s_webhooks_pending)", "pending")]),
            ("Most overdue webhook", "s", [("max(b2s_webhooks_overdue_seconds)", "overdue")]),
            ("Webhook attempts by outcome", "ops", [
                ("sum by (outcome) (rate(b2s_webhook_attempts_total[5m]))", "{{outcome}}"),
            ]),
            ("Share of webhook attempts that do not arrive", "percentunit", [
                ("b2s:webhooks_refused:ratio30m", "refused"),
            ]),
            ("From the end of a job to the arrival of its webhook", "s", [
                ("histogram_quantile(0.5, sum by (le) (rate(b2s_webhook_age_seconds_bucket[5m])))", "p50"),
                ("histogram_quantile(0.95, sum by (le) (rate(b2s_webhook_age_seconds_bucket[5m])))", "p95"),
            ]),
            ("Webhook attempts being made, and their mean time", "short", [
                ("sum(b2s_webhooks_under_way)", "under way"),
                ("sum(rate(b2s_webhook_attempt_seconds_sum[5m])) / sum(rate(b2s_webhook_attempt_seconds_count[5m]))",
                 "seconds"),
            ]),
        ],
    ),
    "workers": (
        "b2s: is it wrong, what does a megapixel cost?",
        [
            ("Workers up", "short", [('sum by (job) (up{job=~"denoise|finetune"})', "{{job}}")]),
            ("Attempts by outcome", "ops", [
                ("sum by (kind, outcome) (rate(b2s_attempts_total[5m]))", "{{kind}} {{outcome}}"),
            ]),
            ("Megapixels a second", "short", [("b2s:megapixels:rate5m", "{{kind}}")]),
            ("Worker-seconds a megapixel", "s", [("b2s:compute_seconds_per_megapixel:ratio30m", "{{kind}}")]),
            ("Mean time by stage", "s", [
                ("sum by (kind, stage) (rate(b2s_stage_seconds_sum[5m])) "
                 "/ sum by (kind, stage) (rate(b2s_stage_seconds_count[5m]))", "{{kind}} {{stage}}"),
            ]),
            ("Attempts without a result", "percentunit", [("b2s:attempts_lost:ratio15m", "{{kind}}")]),
            ("What the sweep put right", "short", [
                ("sum by (what) (increase(b2s_swept_jobs_total[15m]))", "{{what}}"),
            ]),
            ("Tiles halved because the GPU was full", "short", [
                ("sum(increase(b2s_oom_retries_total[15m]))", "halved"),
            ]),
            ("GPU busy", "percentunit", [("max by (instance, gpu) (b2s_gpu_busy_ratio)", "{{instance}} {{gpu}}")]),
            ("GPU memory in use", "percentunit", [
                ("max by (instance, gpu) (b2s_gpu_memory_used_bytes / b2s_gpu_memory_bytes)", "{{instance}} {{gpu}}"),
            ]),
            ("GPU power", "watt", [("max by (instance, gpu) (b2s_gpu_power_watts)", "{{instance}} {{gpu}}")]),
            ("GPU temperature", "celsius", [("max by (instance, gpu) (b2s_gpu_celsius)", "{{instance}} {{gpu}}")]),
        ],
    ),
    "finetunes": (
        "b2s: fine-tunes",
        [
            ("Fine-tunes by outcome", "short", [
                ('sum by (outcome) (increase(b2s_attempts_total{kind="finetune"}[1d]))', "{{outcome}}"),
            ]),
            ("Steps of the attempts that ended within the hour", "short", [
                ('sum(increase(b2s_tiles_total{kind="finetune"}[1h]))', "steps"),
            ]),
            ("Models made, by whether they beat their base", "short", [
                ("sum by (promoted) (increase(b2s_finetune_models_total[1d]))", "promoted {{promoted}}"),
            ]),
            ("Files of training sets", "short", [
                ("sum by (verdict) (increase(b2s_finetune_files_total[1d]))", "{{verdict}}"),
            ]),
            ("Checkpoints", "short", [("sum by (stored) (increase(b2s_checkpoints_total[1h]))", "stored {{stored}}")]),
        ],
    ),
}  # fmt: skip


def dashboard(name: str) -> dict[str, Any]:
    """One dashboard as Grafana reads it."""
    title, panels = DASHBOARDS[name]
    return {
        "uid": f"b2s-{name}", "title": title, "tags": ["b2s"], "timezone": "utc", "schemaVersion": 41,
        "refresh": "30s", "time": {"from": "now-3h", "to": "now"},
        "panels": [_panel(number, *panel) for number, panel in enumerate(panels)],
    }  # fmt: skip


def text(name: str) -> str:
    """The file of a dashboard."""
    return json.dumps(dashboard(name), indent=1) + "\n"


def _panel(number: int, title: str, unit: str, queries: list[tuple[str, str]]) -> dict[str, Any]:
    place = {"x": number % 2 * WIDTH, "y": number // 2 * HEIGHT, "w": WIDTH, "h": HEIGHT}
    targets = [
        {"refId": chr(ord("A") + index), "expr": expression, "legendFormat": legend, "datasource": PROMETHEUS}
        for index, (expression, legend) in enumerate(queries)
    ]
    return {
        "id": number + 1, "type": "timeseries", "title": title, "gridPos": place, "datasource": PROMETHEUS,
        "targets": targets, "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
    }  # fmt: skip


def main() -> None:
    """Write every dashboard."""
    HERE.mkdir(exist_ok=True)
    for name in DASHBOARDS:
        (HERE / f"{name}.json").write_text(text(name))


if __name__ == "__main__":
    main()
