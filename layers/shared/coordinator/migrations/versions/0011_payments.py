"""Payments in bitcoin; a balance may fall below zero where the chain takes back what was spent."""

import sqlalchemy as sa
from alembic import op

from coordinator.migrations.ddl import ascii_text, where

revision = "0011"
down_revision = "0010"

# Nothing of a caller is ever put into these texts.
# ruff: noqa: S608
_STATUSES = ("pending", "processing", "confirmed", "expired")
_WATCHED, _UNPAID = "check_us IS NOT NULL", "status = 'pending'"
_NOBODY_OWES_MORE = "owner_id IN ('issuance', 'exchange') OR (available_atoms >= -owed_atoms AND held_atoms >= 0)"


def upgrade() -> None:
    op.create_table(
        "payments",
        sa.Column("id", ascii_text(36), nullable=False),
        sa.Column("user_id", ascii_text(36), nullable=False),
        sa.Column("address_index", sa.BigInteger(), nullable=True),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("exact_sat", sa.BigInteger(), nullable=True),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("amount_atoms", "amount_sat")),
        sa.Column("rate", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("received_sat", sa.BigInteger(), nullable=False),
        sa.Column("confirmations", sa.Integer(), nullable=False),
        sa.Column("credited_atoms", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.Boolean(), nullable=False) for name in ("late", "reversed")),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("created_us", "expires_us")),
        sa.Column("confirmed_us", sa.BigInteger(), nullable=True),
        sa.Column("readings", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=True) for name in ("read_us", "check_us", "refreshed_us")),
        sa.PrimaryKeyConstraint("id", name=op.f("payments_pk")),
        sa.UniqueConstraint("exact_sat", name=op.f("payments_exact_sat_key")),
    )
    op.create_index("payments_of_user", "payments", ["user_id", "id"])
    op.create_index("payments_by_status", "payments", ["status", "id"])
    op.create_index("payments_address", "payments", ["address"])
    op.create_index("payments_to_check", "payments", ["check_us"], **where(_WATCHED))
    op.create_index("payments_unpaid", "payments", ["expires_us"], **where(_UNPAID))
    op.create_index("payments_unpaid_of_user", "payments", ["user_id"], **where(_UNPAID))
    op.create_table(
        "payment_outputs",
        sa.Column("txid", ascii_text(64), nullable=False),
        sa.Column("vout", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("payment_id", ascii_text(36), nullable=True),
        sa.Column("amount_sat", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.Boolean(), nullable=False) for name in ("present", "late")),
        sa.Column("block_height", sa.Integer(), nullable=True),
        sa.Column("block_hash", ascii_text(64), nullable=True),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("credited_atoms", "frozen_rate_sat")),
        sa.Column("credits", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("txid", "vout", name=op.f("payment_outputs_pk")),
    )
    op.create_index("payment_outputs_payment_id", "payment_outputs", ["payment_id"])
    op.create_table(
        "payment_accounts",
        sa.Column("account", ascii_text(64), nullable=False),
        sa.Column("next_index", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account", name=op.f("payment_accounts_pk")),
    )
    op.create_table(
        "payment_shared_addresses",
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("since_height", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("address", name=op.f("payment_shared_addresses_pk")),
    )
    op.create_table(
        "payment_chain",
        sa.Column("number", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("read_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("payment_chain_pk")),
    )
    _count_by_status()
    _let_balances_fall_below_zero()


def _let_balances_fall_below_zero() -> None:
    with op.batch_alter_table("ledger_accounts") as accounts:
        accounts.add_column(sa.Column("owed_atoms", sa.BigInteger(), server_default="0", nullable=False))
        accounts.drop_constraint(op.f("ledger_accounts_nobody_owes"), type_="check")
        accounts.create_check_constraint(op.f("ledger_accounts_nobody_owes"), _NOBODY_OWES_MORE)


def _count_by_status() -> None:
    op.create_table(
        "payment_counts",
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("payments", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("status", name=op.f("payment_counts_pk")),
    )
    op.execute("INSERT INTO payment_counts VALUES " + ", ".join(f"('{status}', 0)" for status in _STATUSES))
    # Few payments are made at once, so one row for each status will do.
    one_more = "UPDATE payment_counts SET payments = payments + 1 WHERE status = NEW.status"
    moved = (
        "UPDATE payment_counts SET payments = payments + CASE WHEN status = NEW.status THEN 1 ELSE -1 END "
        "WHERE status IN (OLD.status, NEW.status)"
    )
    if op.get_context().dialect.name == "sqlite":
        op.execute(f"CREATE TRIGGER payments_counted_insert AFTER INSERT ON payments BEGIN {one_more}; END")
        op.execute(
            "CREATE TRIGGER payments_counted_update AFTER UPDATE OF status ON payments "
            f"WHEN OLD.status <> NEW.status BEGIN {moved}; END"
        )
        return
    for name, event, statement in (
        ("payments_counted_insert", "INSERT ON payments FOR EACH ROW", one_more),
        (
            "payments_counted_update",
            "UPDATE OF status ON payments FOR EACH ROW WHEN (OLD.status <> NEW.status)",
            moved,
        ),
    ):
        op.execute(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {statement}; RETURN NULL; END $$"
        )
        op.execute(f"CREATE TRIGGER {name} AFTER {event} EXECUTE FUNCTION {name}()")
