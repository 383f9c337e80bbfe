"""The tables. Alembic's revisions in `migrations/` build them; a test compares both."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy import UniqueConstraint as Unique

from store.database import UtcDateTime

metadata = MetaData()

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    # The queue: `turn` is the round of the round-robin between tenants in which the job runs (see Jobs.create)
    Column("turn", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),  # claims so far; the number of the running one guards every write
    Column("strikes", Integer, nullable=False),  # attempts that died without progress; handing back is none
    Column("furthest", BigInteger),  # the step from which another attempt would go on; NULL: the first
    Column("not_before", UtcDateTime),  # a retry waits until then
    Column("lease_owner", String(128)),
    Column("lease_until", UtcDateTime),
    Column("cancel_requested", Boolean, nullable=False),
    # What was asked
    Column("model", String(200)),
    Column("bases", JSON(none_as_null=True)),  # SHA-256 by name of the base models it may be run with; NULL: any
    Column("needs", Integer, nullable=False, server_default="0"),  # what its worker has to know (see store.options)
    Column("dataset_id", String(40)),  # no foreign key: the id is history once the dataset is deleted
    Column("options", JSON, nullable=False),
    Column("input", JSON, nullable=False),  # what the probe saw: format, width, height, channels, dtype, frames…
    Column("input_key", Text),
    Column("pixels", BigInteger, nullable=False),  # width × height × frames; of all images for a set
    Column("files", Integer),  # of a batch, how many it brought (see `store.job_files`); NULL: no batch
    Column("request_id", String(128)),
    Column("traceparent", String(64)),  # of the request's span, if it is traced
    Column("idempotency_key", String(255)),
    Column("body_hash", String(64)),
    # How far it is
    Column("phase", String(32)),
    Column("progress", JSON, nullable=False),
    Column("event_seq", Integer, nullable=False),
    # What came out
    Column("result_key", Text),
    Column("report_key", Text),
    Column("picture_key", Text),
    Column("result", JSON(none_as_null=True)),
    Column("timings", JSON, nullable=False),
    Column("device", String(32)),  # `cpu`, `cuda:1`…; NULL: not ended by a worker, or by one that did not say
    Column("error_code", String(64)),
    Column("error_detail", Text),
    # When
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("expires_at", UtcDateTime),
    Column("purged_at", UtcDateTime),
    Unique("tenant", "idempotency_key", name="jobs_idempotency"),
    Index("jobs_queue", "kind", "state", "turn", "id"),
    Index("jobs_turns", "kind", "state", "tenant", "turn"),
    Index("jobs_listing", "tenant", "id"),
    Index("jobs_leases", "state", "lease_until"),
    Index("jobs_expiry", "state", "expires_at"),
    Index("jobs_dataset", "dataset_id"),
    Index("jobs_model", "model", "state"),
)

job_events = Table(
    "job_events",
    metadata,
    Column("job_id", String(40), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("type", String(16), nullable=False),  # `state` or `progress`
    Column("data", JSON, nullable=False),
    Column("at", UtcDateTime, nullable=False),
)

job_files = Table(
    "job_files",
    metadata,
    # The files of a batch, in the order in which they are denoised; they go with their job's bytes
    Column("job_id", String(40), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),  # from 0
    Column("name", Text, nullable=False),  # as the sender calls it: never a path of ours
    Column("key", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("pixels", BigInteger, nullable=False),  # as the header says; 0 for an archive or what is no image
    Column("archive", Boolean, nullable=False),  # a worker puts what it holds in its place
    Column("state", String(16), nullable=False),  # `queued`, `succeeded` or `failed`
    Column("result_key", Text),
    Column("report_key", Text),
    Column("result", JSON(none_as_null=True)),
    Column("error_code", String(64)),
    Column("error_detail", Text),
)

pictures = Table(
    "pictures",
    metadata,
    # What is drawn of a finished job when somebody asks for it (see `store.pictures`); what is lost is drawn again
    Column("id", String(64), primary_key=True),  # job_…/<digest of what>
    Column("job_id", String(40), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("what", JSON, nullable=False),
    Column("attempt", Integer, nullable=False),  # claims so far; the number of the running one guards every write
    Column("lease_until", UtcDateTime),
    Column("key", Text),
    Column("bytes", BigInteger),
    Column("sha256", String(64)),
    Column("error_code", String(64)),
    Column("error_detail", Text),
    Column("asked_at", UtcDateTime, nullable=False),  # last
    Column("ended_at", UtcDateTime),  # drawn or refused
    Index("pictures_waiting", "ended_at", "asked_at"),
    Index("pictures_kept", "tenant", "ended_at"),
    Index("pictures_job", "job_id"),
)

models = Table(
    "models",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("tenant", String(64)),  # NULL: a base model, everybody's
    Column("name", String(200), nullable=False),
    Column("channels", Integer, nullable=False),
    Column("base_model", String(64)),
    Column("card", JSON, nullable=False),
    Column("weights_key", Text, nullable=False),
    Column("weights_bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index("models_listing", "tenant", "id"),
)

workers = Table(
    "workers",
    metadata,
    # A host that takes denoise jobs; nothing is told of one that has not been seen for a while
    Column("host", String(255), primary_key=True),
    Column("backend", String(32), nullable=False),  # what its networks run on: `ncnn-float32`, `cuda-float16`…
    Column("seen_at", UtcDateTime, nullable=False),
)

tenants = Table(
    "tenants",
    metadata,
    Column("name", String(64), primary_key=True),
    # How much it may use; NULL: no bound
    Column("requests_per_minute", Integer),
    Column("unfinished_jobs", Integer),
    Column("pixels_per_day", BigInteger),
    Column("stored_bytes", BigInteger),
    Column("created_at", UtcDateTime, nullable=False),
)

keys = Table(
    "keys",
    metadata,
    Column("id", String(12), primary_key=True),  # the public part of b2s_<id>_<secret>
    Column("tenant", String(64), ForeignKey("tenants.name"), nullable=False),
    Column("digest", String(64), nullable=False),  # SHA-256 of the whole key
    Column("scopes", JSON, nullable=False),
    Column("label", String(200), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
)

usage = Table(
    "usage",
    metadata,
    Column("tenant", String(64), primary_key=True),
    Column("day", String(10), primary_key=True),  # UTC, YYYY-MM-DD
    Column("kind", String(16), primary_key=True),
    Column("accepted", BigInteger, nullable=False),
    Column("accepted_pixels", BigInteger, nullable=False),  # what quotas count
    Column("succeeded", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("canceled", BigInteger, nullable=False),
    Column("pixels", BigInteger, nullable=False),  # of the jobs that succeeded
    Column("worker_seconds", Float, nullable=False),
    Column("gpu_seconds", Float, nullable=False, server_default="0"),
)

datasets = Table(
    "datasets",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("name", String(200)),
    Column("created_at", UtcDateTime, nullable=False),
    Column("used_at", UtcDateTime, nullable=False),  # last image or job; B2S_DATASET_DAYS after it the set expires
    Index("datasets_listing", "tenant", "id"),
)

dataset_images = Table(
    "dataset_images",
    metadata,
    Column("dataset_id", String(40), ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String(500), primary_key=True),
    Column("key", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("pixels", BigInteger, nullable=False),  # as the header says; 0 for an archive or what is no image
    Column("sha256", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

webhook_secrets = Table(
    "webhook_secrets",
    metadata,
    Column("tenant", String(64), primary_key=True),
    Column("secret", String(128), nullable=False),  # readable: a signature cannot be made from a digest
    Column("previous", String(128)),
    Column("previous_until", UtcDateTime),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("job_id", String(40), nullable=False),  # no foreign key: the log outlives the job
    Column("kind", String(16), nullable=False),
    Column("type", String(64), nullable=False),
    Column("url", Text, nullable=False),
    Column("body", Text, nullable=False),  # the bytes that are signed and sent, the same at every attempt
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),  # in all; the number of the running one guards its outcome
    Column("tries", Integer, nullable=False),  # since it was made or replayed: where in the backoff it is
    Column("next_at", UtcDateTime),
    Column("last_status", Integer),
    Column("last_error", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Index("webhook_due", "state", "next_at"),
    Index("webhook_listing", "tenant", "id"),
)

webhook_attempts = Table(
    "webhook_attempts",
    metadata,
    Column("delivery_id", String(40), ForeignKey("webhook_deliveries.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("status", Integer),
    Column("error", Text),
)
