"""rate counters."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    # SQLite keeps them in a file of their own; see `core.rates`, which also says what the columns mean.
    if op.get_bind().dialect.name != "postgresql":
        return
    op.create_table(
        "rate_counters",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("times_us", sa.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("counts", sa.ARRAY(sa.Integer()), nullable=False),
        sa.Column("began_us", sa.BigInteger(), nullable=False),
        sa.Column("asked_us", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.Column("admitted", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("rate_counters_pk")),
        prefixes=["UNLOGGED"],
    )
