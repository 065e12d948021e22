"""audit, disabled miners, and what lists of jobs and receipts are filtered by."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_REFUSE = "audit entries are never changed or removed"


def _ascii(length):
    return sa.String(length).with_variant(sa.VARCHAR(length, collation="C"), "postgresql")


def _where(condition):
    return {"postgresql_where": sa.text(condition), "sqlite_where": sa.text(condition)}


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", _ascii(36), nullable=False),
        sa.Column("admin_id", _ascii(36), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_pk")),
    )
    if op.get_bind().dialect.name == "sqlite":
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER audit_refuses_{change.lower()} BEFORE {change} ON audit "
                f"BEGIN SELECT RAISE(ABORT, '{_REFUSE}'); END"
            )
    else:
        op.execute(
            "CREATE FUNCTION audit_refuse_change() RETURNS trigger LANGUAGE plpgsql "
            f"AS $$ BEGIN RAISE EXCEPTION '{_REFUSE}'; END $$"
        )
        op.execute(
            "CREATE TRIGGER audit_refuses_change BEFORE UPDATE OR DELETE ON audit "
            "FOR EACH ROW EXECUTE FUNCTION audit_refuse_change()"
        )
    op.add_column("miners", sa.Column("disabled", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_index("jobs_failed", "jobs", ["id"], **_where("status = 'failed'"))
    op.create_index("jobs_of_miner", "jobs", ["miner_id", "id"], **_where("miner_id IS NOT NULL"))
    op.create_index("receipts_of_client", "receipts", ["client_id", "id"])
