"""The ledger, and who pays for a job."""

import sqlalchemy as sa
from alembic import op

from coordinator.migrations.ddl import ascii_text, refuse_changes, where

revision = "0009"
down_revision = "0008"

_NOBODY_OWES = "owner_id IN ('issuance', 'exchange') OR (available_atoms >= 0 AND held_atoms >= 0)"
_AVAILABLE = "account = 'available'"


def upgrade() -> None:
    op.create_table(
        "ledger_accounts",
        sa.Column("owner_id", ascii_text(36), nullable=False),
        sa.Column("available_atoms", sa.BigInteger(), nullable=False),
        sa.Column("held_atoms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner_id", name=op.f("ledger_accounts_pk")),
        sa.CheckConstraint(_NOBODY_OWES, name=op.f("ledger_accounts_nobody_owes")),
    )
    op.execute("INSERT INTO ledger_accounts VALUES ('issuance', 0, 0), ('exchange', 0, 0)")
    op.create_table(
        "ledger_entries",
        sa.Column("key", ascii_text(128), nullable=False),
        sa.Column("place", sa.SmallInteger(), nullable=False),
        sa.Column("id", ascii_text(36), nullable=False),
        sa.Column("owner_id", ascii_text(36), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("amount_atoms", sa.BigInteger(), nullable=False),
        sa.Column("job_id", ascii_text(36), nullable=True),
        sa.Column("payment_id", ascii_text(36), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", "place", name=op.f("ledger_entries_pk")),
    )
    op.create_index(
        "ledger_entries_of_owner",
        "ledger_entries",
        ["owner_id", "id"],
        **where(_AVAILABLE),
    )
    op.create_table(
        "ledger_check",
        sa.Column("number", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("ok", sa.Boolean(), nullable=False),
        sa.Column("checked_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("ledger_check_pk")),
    )
    refuse_changes("ledger_entries", "ledger entries are never changed or removed")
    if op.get_context().dialect.name == "postgresql":
        # Rows with room around them are updated in place.
        op.execute("ALTER TABLE ledger_accounts SET (fillfactor = 50)")
    op.add_column("jobs", sa.Column("payer_id", ascii_text(36), nullable=True))
    op.add_column("jobs", sa.Column("holds", sa.SmallInteger(), server_default="0", nullable=False))
