"""audit, disabled miners, and what lists of jobs and receipts are filtered by."""

import sqlalchemy as sa
from alembic import op

from coordinator.migrations.ddl import ascii_text, refuse_changes, where

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", ascii_text(36), nullable=False),
        sa.Column("admin_id", ascii_text(36), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_pk")),
    )
    refuse_changes("audit", "audit entries are never changed or removed")
    op.add_column("miners", sa.Column("disabled", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_index("jobs_failed", "jobs", ["id"], **where("status = 'failed'"))
    op.create_index("jobs_of_miner", "jobs", ["miner_id", "id"], **where("miner_id IS NOT NULL"))
    op.create_index("receipts_of_client", "receipts", ["client_id", "id"])
