"""Base models pinned by a job, what its worker has to know, and the hosts that take jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("bases", sa.JSON(none_as_null=True)))
    # Old gateways go on inserting jobs beside the new ones and know no such column.
    op.add_column("jobs", sa.Column("needs", sa.Integer, nullable=False, server_default="0"))
    op.create_table(
        "workers",
        sa.Column("host", sa.String(255), primary_key=True),
        sa.Column("backend", sa.String(32), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
    )
