"""Jobs, their events, models."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("turn", sa.BigInteger, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("strikes", sa.Integer, nullable=False),
        sa.Column("not_before", time),
        sa.Column("lease_owner", sa.String(128)),
        sa.Column("lease_until", time),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("model", sa.String(200)),
        sa.Column("options", sa.JSON, nullable=False),
        sa.Column("input", sa.JSON, nullable=False),
        sa.Column("input_key", sa.Text),
        sa.Column("pixels", sa.BigInteger, nullable=False),
        sa.Column("request_id", sa.String(128)),
        sa.Column("idempotency_key", sa.String(255)),
        sa.Column("body_hash", sa.String(64)),
        sa.Column("phase", sa.String(32)),
        sa.Column("progress", sa.JSON, nullable=False),
        sa.Column("event_seq", sa.Integer, nullable=False),
        sa.Column("result_key", sa.Text),
        sa.Column("report_key", sa.Text),
        sa.Column("picture_key", sa.Text),
        sa.Column("result", sa.JSON),
        sa.Column("timings", sa.JSON, nullable=False),
        sa.Column("error_code", sa.String(64)),
        sa.Column("error_detail", sa.Text),
        sa.Column("created_at", time, nullable=False),
        sa.Column("started_at", time),
        sa.Column("finished_at", time),
        sa.Column("expires_at", time),
        sa.Column("purged_at", time),
        sa.UniqueConstraint("tenant", "idempotency_key", name="jobs_idempotency"),
    )
    op.create_index("jobs_queue", "jobs", ["kind", "state", "turn", "id"])
    op.create_index("jobs_turns", "jobs", ["kind", "state", "tenant", "turn"])
    op.create_index("jobs_listing", "jobs", ["tenant", "id"])
    op.create_index("jobs_leases", "jobs", ["state", "lease_until"])
    op.create_index("jobs_expiry", "jobs", ["state", "expires_at"])
    op.create_table(
        "job_events",
        sa.Column("job_id", sa.String(40), sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("type", sa.String(16), nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sa.Column("at", time, nullable=False),
    )
    op.create_table(
        "models",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("tenant", sa.String(64)),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("channels", sa.Integer, nullable=False),
        sa.Column("base_model", sa.String(64)),
        sa.Column("card", sa.JSON, nullable=False),
        sa.Column("weights_key", sa.Text, nullable=False),
        sa.Column("weights_bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("created_at", time, nullable=False),
    )
    op.create_index("models_listing", "models", ["tenant", "id"])
