"""answers to requests with an Idempotency-Key."""

import sqlalchemy as sa
from alembic import op

from coordinator.migrations.ddl import ascii_text

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("principal_id", ascii_text(36), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("request_sha256", ascii_text(64), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("headers", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("principal_id", "key", name=op.f("idempotency_keys_pk")),
    )
    op.create_index("idempotency_keys_age", "idempotency_keys", ["created_us"])
