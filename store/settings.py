"""Every setting of gateway and worker: one environment variable each, prefix `B2S_`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from store.errors import SettingsError
from store.loopback import is_loopback
from store.redis_url import for_redis

Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]


UPLOAD_BYTES = 64 * 2**20
"""Largest upload where others than the machine's own user may send some, unless set."""

OWN_UPLOAD_BYTES = 2**30
"""Largest upload where only the machine's own user can: a stack of 60 frames of 2048² in 16 bit is half of it."""


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
        "redis://127.0.0.1:6379/0",
        description="Redis of the job queue: `redis://host:port/db`, or `unix:///path` of a socket. `make run` starts "
        "one when unset.",
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
    allowed_hosts: str = Field(
        "", description="Names besides loopback's that a gateway without keys answers to, commas between."
    )
    max_upload_bytes: int = Field(
        0,
        ge=0,
        description="Largest upload in bytes; 0: 1 GiB for a gateway without keys on loopback (at most a quarter "
        "of the free disk), else 64 MiB.",
    )
    max_pixels: Positive = Field(
        100_000_000,
        description="Largest image in pixels (width × height); of a TIFF, FITS or NPY stack each page, of other "
        "formats all frames together.",
    )
    quality: Literal["auto", "fast", "best"] = Field(
        "auto",
        description="Base models of jobs that name neither model nor quality; `auto`: `best` where all workers have "
        "CUDA or a CPU with AMX, else `fast`.",
    )
    max_wait_seconds: Seconds = Field(120.0, description="Longest time a request may ask to wait for its job.")
    max_connections: int = Field(
        0, ge=0, description="Connections at a time; those that say least go first. 0: as many as there may be files."
    )
    max_connections_per_address: int = Field(0, ge=0, description="Of these, from one address; 0: half of them.")
    trusted_proxies: str = Field(
        "", description="Addresses or networks of proxies, commas between: theirs are bounded in all only."
    )
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
    max_attempts: Positive = Field(
        3, description="Attempts at a job before it fails for good; of a fine-tune, those since it last got further."
    )
    sweep_seconds: Seconds = Field(5.0, description="How often lost, expired and unrung jobs are looked for.")

    # Pictures
    picture_seconds: Seconds = Field(
        20.0, description="Longest time a request waits for its picture to be drawn; then 503 and Retry-After."
    )
    max_pictures_per_tenant: Positive = Field(
        16, description="Pictures of one tenant that may wait to be drawn; more are refused with 429 and Retry-After."
    )
    picture_bytes_per_tenant: Positive = Field(
        256 * 2**20, description="Bytes of drawn pictures kept for one tenant; the oldest make room."
    )

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
    cpu_precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Precision of networks on a CPU; `auto`: `bfloat16` where a trial finds it much faster."
    )
    warm_models: Positive = Field(3, description="Models a denoise process keeps loaded.")
    shutdown_seconds: Positive = Field(
        20, description="Time a stopping worker gives its running job before handing it back."
    )
    stuck_seconds: Seconds = Field(
        30.0, description="Time in which a canceled job's process has to come back; then it is replaced."
    )
    debuggable: bool = Field(
        False, description="Let profilers and debuggers of the same user look into workers, which hold secrets."
    )
    metrics_port: int = Field(9808, ge=0, le=65535, description="Port of the denoise worker's /metrics; 0: none.")
    metrics_host: str = Field("127.0.0.1", description="Address of the workers' and the courier's /metrics.")

    # Fine-tuning
    max_set_bytes: Positive = Field(
        20 * 2**30, description="Largest training set or batch in bytes, as sent and unpacked."
    )
    max_set_images: Positive = Field(10_000, description="Most files in a training set or batch.")
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

    webhook_ports: str = Field(
        "", description="Ports of receivers besides 80 and 443, commas between; `any`: no bound."
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
    def most_upload_bytes(self) -> int:
        """The largest upload that a gateway with these settings ever takes; workers take what it took."""
        own = is_loopback(self.host) and not self.allow_open
        return self.max_upload_bytes or (OWN_UPLOAD_BYTES if own else UPLOAD_BYTES)

    @property
    def receivers_ports(self) -> frozenset[int] | None:
        """Ports that webhooks may go to; None: any."""
        if self.webhook_ports.strip() == "any":
            return None
        return frozenset({80, 443, *map(int, filter(None, self.webhook_ports.replace(" ", "").split(",")))})

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, url: str) -> str:
        return for_redis(url)

    @field_validator("webhook_ports")
    @classmethod
    def _ports(cls, text: str) -> str:
        ports = [] if text.strip() == "any" else [port.strip() for port in text.split(",") if port.strip()]
        if not all(port.isdecimal() and 0 < int(port) < 65536 for port in ports):
            raise ValueError("it has to be numbers of ports, as in 8443,9000, or `any`")
        return text

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
