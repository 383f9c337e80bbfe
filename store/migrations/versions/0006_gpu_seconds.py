"""The device that a job ended on, and GPU-seconds beside worker-seconds."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("device", sa.String(32)))
    # What old gateways and workers add to a day beside the new ones knows no such column.
    op.add_column("usage", sa.Column("gpu_seconds", sa.Float, nullable=False, server_default="0"))
