"""Datasets, their images, and which dataset a job learns from."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    op.create_table(
        "datasets",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200)),
        sa.Column("created_at", time, nullable=False),
        sa.Column("used_at", time, nullable=False),
    )
    op.create_index("datasets_listing", "datasets", ["tenant", "id"])
    op.create_table(
        "dataset_images",
        sa.Column("dataset_id", sa.String(40), sa.ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("name", sa.String(500), primary_key=True),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("pixels", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("created_at", time, nullable=False),
    )
    op.add_column("jobs", sa.Column("dataset_id", sa.String(40)))
    op.create_index("jobs_dataset", "jobs", ["dataset_id"])
    op.create_index("jobs_model", "jobs", ["model", "state"])
