"""Every setting of gateway and worker: one environment variable each, prefix `B2S_`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from store.errors import SettingsError

Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]


class Settings(BaseSettings):
    """Configuration, read from the environment once at start and frozen afterwards."""

    model_config = SettingsConfigDict(env_prefix="B2S_", frozen=True, extra="ignore", populate_by_name=True)

    # Where things are
    data_dir: Path = Field(Path("data"), description="Folder that holds everything kept by an embedded installation.")
    database_url: str = Field(
        "", description="SQLAlchemy URL. Default: SQLite in B2S_DATA_DIR. PostgreSQL: `postgresql://…`."
    )
    blob_url: str = Field(
        "", description="Where bytes live. Default: a folder in B2S_DATA_DIR. Else `s3://`, `gs://`, `az://` URL."
    )
    redis_url: str = Field(
        "redis://127.0.0.1:6379/0", description="Redis of the job queue. `make run` starts one when unset."
    )

    # Gateway
    host: str = Field(
        "127.0.0.1", description="Address the gateway listens on.", validation_alias=AliasChoices("HOST", "B2S_HOST")
    )
    port: int = Field(
        8000, ge=1, le=65535, description="Port of the gateway.", validation_alias=AliasChoices("PORT", "B2S_PORT")
    )
    allow_open: bool = Field(
        False,
        description="Let a gateway without keys listen beyond loopback: only where a proxy or firewall guards it.",
    )
    max_upload_bytes: Positive = Field(64 * 2**20, description="Largest upload in bytes.")
    max_pixels: Positive = Field(100_000_000, description="Largest image in pixels (width × height × frames).")
    max_wait_seconds: Seconds = Field(120.0, description="Longest time a request may ask to wait for its job.")
    poll_seconds: Seconds = Field(
        0.02, description="Shortest time between two looks for changed jobs, while workers are not heard."
    )

    # Queue
    max_queued: Positive = Field(
        10_000, description="Jobs of a kind that may wait; more are refused with 503 and Retry-After."
    )
    max_queued_per_tenant: Positive = Field(
        2000, description="Of these, jobs of one tenant; more are refused with 429 and Retry-After."
    )
    max_running_per_tenant: int = Field(
        0, ge=0, description="Jobs of a kind one tenant may run at a time; 0: no bound."
    )
    lease_seconds: Seconds = Field(30.0, description="A running job unheard of for so long is given to another worker.")
    heartbeat_seconds: Seconds = Field(0.5, description="How often a worker renews its lease and looks for a cancel.")
    max_attempts: Positive = Field(3, description="Attempts at a job before it fails for good.")
    sweep_seconds: Seconds = Field(5.0, description="How often lost, expired and unrung jobs are looked for.")

    # Retention
    result_hours: float = Field(72.0, gt=0, description="Hours after its end that a job keeps its bytes; then 410.")
    job_days: float = Field(30.0, gt=0, description="Days after its end that a job's row is kept; then 404.")

    # Worker
    device: str = Field("auto", description="Device of the denoise worker: `auto`, `cpu`, `cuda`, `cuda:1`…")
    denoise_processes: int = Field(
        0, ge=0, description="Denoise jobs a worker runs at a time, a process each; 0: one with a GPU, else two."
    )
    denoise_threads: int = Field(
        0, ge=0, description="CPU threads of a denoise process; 0: all cores, or a share while others wait."
    )
    warm_models: Positive = Field(3, description="Models a denoise process keeps loaded.")
    shutdown_seconds: Positive = Field(
        20, description="Time a stopping worker gives its running job before handing it back."
    )
    metrics_port: int = Field(9808, ge=0, le=65535, description="Port of the denoise worker's /metrics; 0: none.")
    metrics_host: str = Field("127.0.0.1", description="Address of the workers' and the courier's /metrics.")

    # Fine-tuning
    max_set_bytes: Positive = Field(20 * 2**30, description="Largest training set in bytes, as sent and unpacked.")
    max_set_images: Positive = Field(10_000, description="Most files in a training set.")
    min_set_pixels: Positive = Field(65_536, description="Fewest usable pixels that a fine-tune learns from.")
    dataset_days: float = Field(30.0, gt=0, description="Days after its last use that a dataset is kept.")
    finetune_minutes: float = Field(60.0, gt=0, description="Longest training that a request may ask for, in minutes.")
    finetune_threads: int = Field(0, ge=0, description="CPU threads of a fine-tune; 0: all cores.")
    finetune_nice: int = Field(
        10, ge=0, le=19, description="Niceness of a fine-tune: it takes what denoise jobs leave of the CPU."
    )
    checkpoint_seconds: Seconds = Field(
        30.0, description="Time between two checkpoints of a fine-tune: what the death of a worker costs at most."
    )
    finetune_metrics_port: int = Field(
        9809, ge=0, le=65535, description="Port of the fine-tune worker's /metrics; 0: none."
    )
    scratch_dir: str = Field(
        "", description="Where a fine-tune keeps its decoded images; default: the temporary folder."
    )

    # Webhooks
    webhook_private: bool = Field(
        False, description="Let webhooks go to private addresses and over http: where receivers are in the own network."
    )

    courier_metrics_port: int = Field(9810, ge=0, le=65535, description="Port of the courier's /metrics; 0: none.")

    # Logs and traces
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    log_format: Literal["auto", "pretty", "json"] = Field(
        "auto", description="`auto`: pretty on a terminal, else JSON."
    )
    traces: bool = Field(
        False, description="Export OpenTelemetry traces, over OTLP to where the standard `OTEL_…` variables say."
    )

    @property
    def database(self) -> str:
        """SQLAlchemy URL with its driver named."""
        url = self.database_url or f"sqlite:///{self.data_dir.resolve() / 'b2s.sqlite3'}"
        for prefix in ("postgres://", "postgresql://"):
            if url.startswith(prefix):
                return "postgresql+psycopg://" + url.removeprefix(prefix)
        return url

    @property
    def blobs(self) -> str:
        """URL of the blob store."""
        return self.blob_url or (self.data_dir.resolve() / "blobs").as_uri()


def load_settings() -> Settings:
    """Settings from the environment.

    Raises:
        SettingsError: a value cannot work; the message names each variable, its value and what is wrong.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError(
            "; ".join(_describe(problem["loc"], problem["input"], problem["msg"]) for problem in error.errors())
        ) from None


def variable(field: str) -> str:
    """Environment variable of a setting."""
    return field.upper() if field in ("host", "port") else f"B2S_{field.upper()}"


def _describe(location: tuple[int | str, ...], value: object, message: str) -> str:
    name = str(location[0])
    shown = name if name.isupper() else variable(name)
    return f"{shown}={value!s} is not usable: {message}"
