"""What the dashboards show: a tile or panel is a line here, with the words that its info mark tells."""

from __future__ import annotations

from typing import NamedTuple


class Tile(NamedTuple):
    """One number with a colour.

    Attributes:
        unit: Grafana's name of it.
        description: what it is, and what to do when it is not green.
        warning: orange from here on.
        bad: red from here on; that of an alert is the alert's own bound.
        at_least: red below, green from here on; instead of the two others.
        alert: the rule of `docker/prometheus/rules.yml` that tells of the same.
    """

    title: str
    unit: str
    query: str
    description: str
    warning: float | None = None
    bad: float | None = None
    at_least: float | None = None
    alert: str | None = None


class Panel(NamedTuple):
    """Curves over time; each query with its legend."""

    title: str
    unit: str
    queries: list[tuple[str, str]]
    description: str


class Dashboard(NamedTuple):
    """Tiles in a row, panels below."""

    title: str
    description: str
    tiles: list[Tile]
    panels: list[Panel]


SERVICE = Dashboard(
    "b2s: is it up, is it fast?",
    "Gateways as callers meet them.",
    [
        Tile(
            "Gateways up", "short", 'sum(up{job="gateway"}) or vector(0)',
            "Gateways that answer Prometheus. At 0 nobody is served: look at their logs, then at the proxy.",
            at_least=1, alert="GatewayDown",
        ),
        Tile(
            "Database", "short", "max(b2s_database_up) or vector(0)",
            "1: gateways reach the database. 0: requests answer 503; running jobs go on and record their end later.",
            at_least=1, alert="DatabaseDown",
        ),
        Tile(
            "Requests that fail on our side", "percentunit", "b2s:errors:ratio5m",
            "Share of answers with 5xx in five minutes. Follow `request_id` of one through the logs.",
            warning=0.01, bad=0.05, alert="ManyErrors",
        ),
        Tile(
            "Slowest route, 99th percentile", "s", "max(b2s:request_seconds:p99_5m)",
            "Waits for jobs are left out. Above a second: database, blob store or disk are slow, or too few gateways.",
            warning=0.5, bad=1, alert="SlowAnswers",
        ),
    ],
    [
        Panel(
            "Gateways and database up", "short",
            [('sum(up{job="gateway"})', "gateways"), ("min(b2s_database_up)", "database")],
            "How many gateways answer, and whether each of them reaches the database.",
        ),
        Panel(
            "Requests", "reqps", [("sum by (status) (rate(b2s_http_requests_total[5m]))", "{{status}}")],
            "Answers a second by status. 429 and 503 with `Retry-After` are limits at work, not faults.",
        ),
        Panel(
            "Share of requests that fail on our side", "percentunit", [("b2s:errors:ratio5m", "5xx")],
            "5xx over all answers.",
        ),
        Panel(
            "99th percentile by route, waits left out", "s", [("b2s:request_seconds:p99_5m", "{{route}}")],
            "Time to the whole answer; requests that are held for a job are not counted.",
        ),
        Panel(
            "Requests held open for a job", "short", [("sum(b2s_waiting_requests)", "waiting")],
            "`?wait=` and `Prefer: wait`. Each holds a connection and costs next to nothing else.",
        ),
        Panel(
            "Uploads", "Bps", [("sum(rate(b2s_upload_bytes_total[5m]))", "image bytes")],
            "Bytes of images that became a job or part of a dataset.",
        ),
    ],
)  # fmt: skip

QUEUES = Dashboard(
    "b2s: is it full?",
    "Jobs and webhooks that wait.",
    [
        Tile(
            "Oldest waiting denoise job", "s", 'max(b2s_jobs_oldest_queued_seconds{kind="denoise"})',
            "How long the oldest has waited. Rising: start more denoise workers, or look why they stand still.",
            warning=60, bad=300, alert="QueueOld",
        ),
        Tile(
            "Waiting jobs", "short", "max(b2s_jobs_queued)",
            "Of the fuller kind. At B2S_MAX_QUEUED (10,000) new jobs are refused with 503.",
            warning=4000, bad=8000, alert="QueueNearlyFull",
        ),
        Tile(
            "Couriers up", "short", 'sum(up{job="courier"}) or vector(0)',
            "Without a courier no webhook goes out; none is lost.",
            at_least=1, alert="CourierDown",
        ),
        Tile(
            "Most overdue webhook", "s", "max(b2s_webhooks_overdue_seconds)",
            "How late a delivery is that could be tried now. Rising: start another courier.",
            warning=60, bad=300, alert="WebhooksOverdue",
        ),
        Tile(
            "Webhook attempts that do not arrive", "percentunit", "max(b2s:webhooks_refused:ratio30m)",
            "Over half an hour. `GET /webhooks` of the tenant says what the receiver answered.",
            warning=0.1, bad=0.5, alert="WebhooksRefused",
        ),
    ],
    [
        Panel(
            "Queued jobs", "short", [("max by (kind) (b2s_jobs_queued)", "{{kind}}")],
            "Jobs that no worker has taken yet, as the database has them.",
        ),
        Panel(
            "Age of the oldest queued job", "s", [("max by (kind) (b2s_jobs_oldest_queued_seconds)", "{{kind}}")],
            "What workers are scaled by (KEDA). Fine-tunes may wait for hours where there is one worker.",
        ),
        Panel(
            "Running jobs", "short", [("max by (kind) (b2s_jobs_running)", "{{kind}}")],
            "Jobs that a worker holds the lease of.",
        ),
        Panel(
            "Wait in the queue, median and 95th percentile", "s",
            [
                ('histogram_quantile(0.5, sum by (le, kind) (rate(b2s_stage_seconds_bucket{stage="queued"}[5m])))',
                 "{{kind}} p50"),
                ('histogram_quantile(0.95, sum by (le, kind) (rate(b2s_stage_seconds_bucket{stage="queued"}[5m])))',
                 "{{kind}} p95"),
            ],
            "From POST to the claim, of jobs that ended in the last five minutes.",
        ),
        Panel(
            "Couriers up", "short", [('sum(up{job="courier"})', "couriers")],
            "Couriers that answer Prometheus.",
        ),
        Panel(
            "Webhooks not delivered yet", "short", [("max(b2s_webhooks_pending)", "pending")],
            "Deliveries that are due or wait for their next attempt.",
        ),
        Panel(
            "Most overdue webhook", "s", [("max(b2s_webhooks_overdue_seconds)", "overdue")],
            "How late the most overdue delivery is.",
        ),
        Panel(
            "Webhook attempts by outcome", "ops",
            [("sum by (outcome) (rate(b2s_webhook_attempts_total[5m]))", "{{outcome}}")],
            "`delivered`, `retried` (tried again later), `failed` (given up).",
        ),
        Panel(
            "Share of webhook attempts that do not arrive", "percentunit",
            [("b2s:webhooks_refused:ratio30m", "refused")],
            "Over half an hour; receivers that are down, refuse, or answer too late.",
        ),
        Panel(
            "From the end of a job to the arrival of its webhook", "s",
            [
                ("histogram_quantile(0.5, sum by (le) (rate(b2s_webhook_age_seconds_bucket[5m])))", "p50"),
                ("histogram_quantile(0.95, sum by (le) (rate(b2s_webhook_age_seconds_bucket[5m])))", "p95"),
            ],
            "Retries are in it.",
        ),
        Panel(
            "Webhook attempts being made, and their mean time", "short",
            [
                ("sum(b2s_webhooks_under_way)", "under way"),
                ("sum(rate(b2s_webhook_attempt_seconds_sum[5m])) / sum(rate(b2s_webhook_attempt_seconds_count[5m]))",
                 "seconds"),
            ],
            "A courier makes at most 64 at a time, eight of one tenant. Slow receivers fill it.",
        ),
    ],
)  # fmt: skip

WORKERS = Dashboard(
    "b2s: is it wrong, what does a megapixel cost?",
    "Denoise and fine-tune workers, and their GPUs.",
    [
        Tile(
            "Denoise workers up", "short", 'sum(up{job="denoise"}) or vector(0)',
            "Workers that answer Prometheus. At 0 jobs wait; none is lost.",
            at_least=1, alert="NoDenoiseWorker",
        ),
        Tile(
            "Fine-tune workers up", "short", 'sum(up{job="finetune"}) or vector(0)',
            "At 0 fine-tunes wait.",
            at_least=1, alert="NoFinetuneWorker",
        ),
        Tile(
            "Attempts without a result", "percentunit", "max(b2s:attempts_lost:ratio15m)",
            "Attempts that were lost or are tried again, over 15 minutes. The workers' log names the reason.",
            warning=0.02, bad=0.1, alert="AttemptsLost",
        ),
        Tile(
            "Jobs taken back from dead workers", "short",
            'sum(increase(b2s_swept_jobs_total{what="requeued"}[15m])) or vector(0)',
            "In 15 minutes. Look for workers that the system kills: `dmesg`, container limits.",
            warning=1, bad=3, alert="WorkersDie",
        ),
        Tile(
            "Weights found damaged", "short", "sum(increase(b2s_weights_damaged_total[1h])) or vector(0)",
            "In an hour. Base models are put back by themselves; a tenant's own model needs a backup. Check the disk.",
            bad=0.5, alert="WeightsDamaged",
        ),
    ],
    [
        Panel(
            "Workers up", "short", [('sum by (job) (up{job=~"denoise|finetune"})', "{{job}}")],
            "Workers that answer Prometheus.",
        ),
        Panel(
            "Attempts by outcome", "ops",
            [("sum by (kind, outcome) (rate(b2s_attempts_total[5m]))", "{{kind}} {{outcome}}")],
            "`retried` and `lost` cost an attempt of three; `handed_back` is a stopping worker and costs none.",
        ),
        Panel(
            "Megapixels a second", "short", [("b2s:megapixels:rate5m", "{{kind}}")],
            "Pixels of jobs that succeeded.",
        ),
        Panel(
            "Worker-seconds a megapixel", "s", [("b2s:compute_seconds_per_megapixel:ratio30m", "{{kind}}")],
            "What a megapixel costs in time of a worker, all stages.",
        ),
        Panel(
            "Mean time by stage", "s",
            [("sum by (kind, stage) (rate(b2s_stage_seconds_sum[5m])) "
              "/ sum by (kind, stage) (rate(b2s_stage_seconds_count[5m]))", "{{kind}} {{stage}}")],
            "Where a job's time goes: queue, blob store, decoding, network, encoding.",
        ),
        Panel(
            "Attempts without a result", "percentunit", [("b2s:attempts_lost:ratio15m", "{{kind}}")],
            "Lost or tried again, over 15 minutes.",
        ),
        Panel(
            "What the sweep put right", "short",
            [("sum by (what) (increase(b2s_swept_jobs_total[15m]))", "{{what}}")],
            "Expired leases given back, jobs failed after their last attempt, lost rings, expired bytes, orphans.",
        ),
        Panel(
            "Images by how the network ran", "ops",
            [("sum by (backend) (rate(b2s_backend_images_total[5m]))", "{{backend}}")],
            "Runtime and precision. A GPU host that shows `ncnn` fell back to its CPU.",
        ),
        Panel(
            "Weights found damaged", "short",
            [("sum by (put_back) (increase(b2s_weights_damaged_total[1d]))", "put back {{put_back}}")],
            "Files whose checksum is not their row's, found when they were loaded.",
        ),
        Panel(
            "Tiles halved because the GPU was full", "short",
            [("sum(increase(b2s_oom_retries_total[15m]))", "halved")],
            "Each costs a repeated tile. Many: another program uses the GPU, or images are larger than it likes.",
        ),
        Panel(
            "GPU busy", "percentunit", [("max by (instance, gpu) (b2s_gpu_busy_ratio)", "{{instance}} {{gpu}}")],
            "By NVML. Low with a long queue: decoding or the blob store holds jobs up.",
        ),
        Panel(
            "GPU memory in use", "percentunit",
            [("max by (instance, gpu) (b2s_gpu_memory_used_bytes / b2s_gpu_memory_bytes)", "{{instance}} {{gpu}}")],
            "Of all programs on that GPU.",
        ),
        Panel(
            "GPU power", "watt", [("max by (instance, gpu) (b2s_gpu_power_watts)", "{{instance}} {{gpu}}")],
            "By NVML.",
        ),
        Panel(
            "GPU temperature", "celsius", [("max by (instance, gpu) (b2s_gpu_celsius)", "{{instance}} {{gpu}}")],
            "By NVML. GPUs slow down by themselves near their limit.",
        ),
    ],
)  # fmt: skip

FINETUNES = Dashboard(
    "b2s: fine-tunes",
    "Models in the making.",
    [
        Tile(
            "Fine-tune workers up", "short", 'sum(up{job="finetune"}) or vector(0)',
            "At 0 fine-tunes wait.",
            at_least=1, alert="NoFinetuneWorker",
        ),
        Tile(
            "Waiting fine-tunes", "short", 'max(b2s_jobs_queued{kind="finetune"})',
            "A worker trains one at a time. Many: start another fine-tune worker.",
            warning=5, bad=20,
        ),
        Tile(
            "Fine-tunes that failed", "short",
            'sum(increase(b2s_attempts_total{kind="finetune",outcome="failed"}[1d])) or vector(0)',
            "In a day. Most are sets without usable images; the job's `error` says so.",
            warning=1, bad=10,
        ),
    ],
    [
        Panel(
            "Fine-tunes by outcome", "short",
            [('sum by (outcome) (increase(b2s_attempts_total{kind="finetune"}[1d]))', "{{outcome}}")],
            "Attempts that ended within a day.",
        ),
        Panel(
            "Steps of the attempts that ended within the hour", "short",
            [('sum(increase(b2s_tiles_total{kind="finetune"}[1h]))', "steps")],
            "Training steps.",
        ),
        Panel(
            "Models made, by whether they beat their base", "short",
            [("sum by (promoted) (increase(b2s_finetune_models_total[1d]))", "promoted {{promoted}}")],
            "A model that does not beat its base on held-out images is kept and not promoted.",
        ),
        Panel(
            "Files of training sets", "short",
            [("sum by (verdict) (increase(b2s_finetune_files_total[1d]))", "{{verdict}}")],
            "Files kept, and left out with a reason in the report.",
        ),
        Panel(
            "Checkpoints", "short", [("sum by (stored) (increase(b2s_checkpoints_total[1h]))", "stored {{stored}}")],
            "What the death of a worker costs is the time since the last stored one.",
        ),
    ],
)  # fmt: skip

DASHBOARDS = {"service": SERVICE, "queues": QUEUES, "workers": WORKERS, "finetunes": FINETUNES}
