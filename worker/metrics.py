"""What a worker tells Prometheus. No label carries a job or a tenant, so the number of series stays fixed.

Pool children and the main process write to files in one directory (`PROMETHEUS_MULTIPROC_DIR`, set by `__main__` before
this module is imported), and the main process answers for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from store.job import Job, JobKind
from store.jobs import Jobs
from worker.gpu import GpuCollector

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)


OUTCOMES = ("succeeded", "failed", "canceled", "retried", "lost", "handed_back", "gave_way")
"""What may become of an attempt: a state of the job, or a word for why it has none yet."""

BOOLEANS = ("true", "false")

BACKENDS = ("ncnn-float32", "onednn-bfloat16", "torch-float32", "cuda-float16")
"""`model.backend.NAMES`, told without torch."""

SWEPT = ("requeued", "failed", "canceled", "rung", "expired", "datasets_expired", "forgotten", "orphaned")


class WorkerMetrics:
    """The series of one worker; made once a process."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._attempts = _counter(registry, "b2s_attempts", "Attempts that ended.", kind=JobKind, outcome=OUTCOMES)
        self._stages = Histogram(
            "b2s_stage_seconds", "Time by stage of a job.", ["kind", "stage"], buckets=SECONDS, registry=registry
        )
        self._pixels = _counter(registry, "b2s_pixels", "Pixels worked on (width x height x frames).", kind=JobKind)
        self._tiles = _counter(registry, "b2s_tiles", "Tiles or steps done.", kind=JobKind)
        self._oom = Counter("b2s_oom_retries", "Tiles halved because the GPU was full.", registry=registry)
        self._backends = _counter(
            registry, "b2s_backend_images", "Images denoised, by how the network ran.", backend=BACKENDS
        )
        self._swept = _counter(registry, "b2s_swept_jobs", "What the sweep put right.", what=SWEPT)
        self._files = _counter(registry, "b2s_finetune_files", "Files of training sets.", verdict=("kept", "left_out"))
        self._models = _counter(
            registry, "b2s_finetune_models", "Models made, by whether they beat their base.", promoted=BOOLEANS
        )
        self._checkpoints = _counter(registry, "b2s_checkpoints", "Checkpoints of fine-tunes.", stored=BOOLEANS)
        self._damaged_weights = _counter(
            registry, "b2s_weights_damaged", "Weights that are not what their row says.", put_back=BOOLEANS
        )

    def observe_files(self, kept: int, left_out: int) -> None:
        """Count the files of a validated training set."""
        self._files.labels("kept").inc(kept)
        self._files.labels("left_out").inc(left_out)

    def observe_model(self, promoted: bool) -> None:
        """Count a model that a fine-tune made."""
        self._models.labels(str(promoted).lower()).inc()

    def observe_checkpoint(self, stored: bool) -> None:
        """Count a checkpoint; one that is not stored costs time if the worker dies."""
        self._checkpoints.labels(str(stored).lower()).inc()

    def observe_damaged_weights(self, put_back: bool) -> None:
        """Count weights that the store has damaged, by whether this program had them whole."""
        self._damaged_weights.labels(str(put_back).lower()).inc()

    def observe_attempt(self, job: Job, outcome: str, stages: Mapping[str, float], units: int) -> None:
        """Count one attempt; `outcome` is one of `OUTCOMES`."""
        self._attempts.labels(job.kind, outcome).inc()
        self._tiles.labels(job.kind).inc(units)
        if outcome == "succeeded":
            self._pixels.labels(job.kind).inc(job.pixels)
            for stage, seconds in stages.items():
                self._stages.labels(job.kind, stage).observe(seconds)

    def observe_compute(self, backend: str, halved: int) -> None:
        """Count an image that a backend (one of `BACKENDS`) denoised, and the tiles of it that did not fit the GPU."""
        self._backends.labels(backend).inc()
        self._oom.inc(halved)

    def observe_sweep(self, what: str, count: int) -> None:
        """Count what a sweep did, one of `SWEPT`."""
        self._swept.labels(what).inc(count)


def _counter(registry: CollectorRegistry, name: str, text: str, **labels: Iterable[str]) -> Counter:
    """A counter with every series there from the start: Prometheus sees no increase from nothing to 1."""
    counter = Counter(name, text, list(labels), registry=registry)
    for values in product(*labels.values()):
        counter.labels(*values)
    return counter


class QueueCollector(Collector):
    """Length and age of the queues, read from the database at each scrape; nothing while that is away."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def collect(self) -> Iterator[Metric]:
        depth = GaugeMetricFamily("b2s_queue_jobs", "Jobs by kind and state.", labels=["kind", "state"])
        age = GaugeMetricFamily("b2s_queue_oldest_seconds", "Age of the oldest queued job.", labels=["kind"])
        try:
            for kind in JobKind:
                stats = self._jobs.stats(kind)
                depth.add_metric([kind, "queued"], stats.queued)
                depth.add_metric([kind, "running"], stats.running)
                age.add_metric([kind], stats.oldest_seconds)
        except SQLAlchemyError:
            return
        yield depth
        yield age


def serve_metrics(jobs: Jobs, host: str, port: int) -> None:
    """Answer `/metrics` for all processes of this worker, from a thread.

    Raises:
        OSError: the port is in use.
    """
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    registry.register(QueueCollector(jobs))
    registry.register(GpuCollector())
    start_http_server(port, host, registry)
