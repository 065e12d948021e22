"""The transparency log of receipts."""

from uuid import uuid4

import sqlalchemy as sa
from alembic import op

from coordinator.migrations.ddl import ascii_text, refuse_changes

revision = "0010"
down_revision = "0009"

_INDEX = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "receipt_log",
        sa.Column("log_index", _INDEX, autoincrement=False, nullable=False),
        sa.Column("receipt_id", ascii_text(36), nullable=False),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("log_index", name=op.f("receipt_log_pk")),
        sa.UniqueConstraint("receipt_id", name=op.f("receipt_log_receipt_id_key")),
    )
    op.create_table(
        "receipt_log_checkpoints",
        sa.Column("size", _INDEX, autoincrement=False, nullable=False),
        sa.Column("root_hash", ascii_text(64), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("receipt_log_checkpoints_pk")),
    )
    op.create_table(
        "receipt_log_origin",
        sa.Column("origin", ascii_text(128), nullable=False),
        sa.PrimaryKeyConstraint("origin", name=op.f("receipt_log_origin_pk")),
    )
    # Two logs never have the same name, whoever runs them and however often he begins anew.
    origin = sa.table("receipt_log_origin", sa.column("origin"))
    op.execute(origin.insert().values(origin=f"aitbc-coordinator/receipts/{uuid4()}"))
    for table in ("receipt_log", "receipt_log_checkpoints", "receipt_log_origin"):
        refuse_changes(table, "the log of receipts is never changed")

    op.create_table(
        "receipt_log_waiting",
        sa.Column("receipt_id", ascii_text(36), nullable=False),
        sa.PrimaryKeyConstraint("receipt_id", name=op.f("receipt_log_waiting_pk")),
        sqlite_with_rowid=False,
    )
    if op.get_context().dialect.name == "sqlite":
        op.execute(
            "CREATE TRIGGER receipts_wait_for_log AFTER INSERT ON receipts "
            "BEGIN INSERT INTO receipt_log_waiting VALUES (NEW.id); END"
        )
    else:
        op.execute(
            "CREATE FUNCTION receipts_wait_for_log() RETURNS trigger LANGUAGE plpgsql "
            "AS $$ BEGIN INSERT INTO receipt_log_waiting VALUES (NEW.id); RETURN NULL; END $$"
        )
        op.execute(
            "CREATE TRIGGER receipts_wait_for_log AFTER INSERT ON receipts "
            "FOR EACH ROW EXECUTE FUNCTION receipts_wait_for_log()"
        )
        # Like the queue of jobs it dies at its head.
        op.execute("ALTER TABLE receipt_log_waiting SET (autovacuum_vacuum_scale_factor = 0.01)")
    op.execute("INSERT INTO receipt_log_waiting SELECT id FROM receipts")
