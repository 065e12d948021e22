"""Counters of execution environments; counts of jobs by status, kept by triggers."""

import sqlalchemy as sa
from alembic import op

from coordinator.migrations.ddl import ascii_text, where

revision = "0007"
down_revision = "0006"

# Nothing of a caller is ever put into these texts.
# ruff: noqa: S608
_STATUSES = ("pending", "running", "completed", "failed")
_EXPIRED = "OLD.ended_us IS NULL AND NEW.outcome = 'expired' AND NEW.lease_expires_us <= NEW.ended_us"


def upgrade() -> None:
    op.create_table(
        "environment_counts",
        sa.Column("environment", ascii_text(36)),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("flushed_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("environment", name=op.f("environment_counts_pk")),
    )
    op.create_table(
        "job_counts",
        sa.Column("shard", sa.BigInteger(), autoincrement=False, nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in (*_STATUSES, "lease_expiries")),
        sa.PrimaryKeyConstraint("shard", name=op.f("job_counts_pk")),
    )
    op.create_index(
        "jobs_pending_since",
        "jobs",
        ["created_us"],
        **where("started_us IS NULL AND completed_us IS NULL"),
    )
    if op.get_context().dialect.name == "sqlite":
        _count_on_sqlite()
    else:
        _count_on_postgres()
    # Nobody changes a job from the creation of the triggers to the end of this transaction.
    counted = ", ".join(f"count(*) FILTER (WHERE status = '{status}')" for status in _STATUSES)
    names = ", ".join(_STATUSES)
    op.execute(f"UPDATE job_counts SET ({names}) = (SELECT {counted} FROM jobs) WHERE shard = 0")


def _count_on_sqlite() -> None:
    """One writer at a time needs one row. A migration that makes the table `jobs` anew must make these anew too."""
    op.execute("INSERT INTO job_counts VALUES (0, 0, 0, 0, 0, 0)")

    def add(when, action, table, changes, condition=None):
        only = f"WHEN {condition}" if condition else ""
        op.execute(
            f"CREATE TRIGGER {table}_counted_{when} AFTER {action} ON {table} {only} "
            f"BEGIN UPDATE job_counts SET {', '.join(changes)}; END"
        )

    def by_status(change):
        return [f"{status} = {status} " + change.format(status) for status in _STATUSES]

    added, removed = "+ (NEW.status = '{0}')", "- (OLD.status = '{0}')"
    add("insert", "INSERT", "jobs", by_status(added))
    add("delete", "DELETE", "jobs", by_status(removed))
    add("update", "UPDATE OF status", "jobs", by_status(f"{added} {removed}"), "OLD.status <> NEW.status")
    add("expiry", "UPDATE OF outcome", "attempts", ["lease_expiries = lease_expiries + 1"], _EXPIRED)


def _count_on_postgres() -> None:
    """A statement adds once, however many jobs it changes; so many updates of one row would take quadratic time."""
    # Rows with room around them are updated in place.
    op.execute("ALTER TABLE job_counts SET (fillfactor = 20)")
    op.execute("INSERT INTO job_counts SELECT n, 0, 0, 0, 0, 0 FROM generate_series(0, 1023) AS n")
    own = "WHERE shard = pg_backend_pid() % 1024"
    sums = ", ".join(f"{status} = {status} + sum_{status}" for status in _STATUSES)
    differences = ", ".join(
        f"coalesce(sum(n) FILTER (WHERE status = '{status}'), 0) AS sum_{status}" for status in _STATUSES
    )
    added, removed = "SELECT status, 1 AS n FROM added", "SELECT status, -1 AS n FROM removed"
    tables = {"added": "NEW TABLE AS added", "removed": "OLD TABLE AS removed"}
    for action, changes, referenced in (
        ("insert", added, ("added",)),
        ("delete", removed, ("removed",)),
        ("update", f"{added} UNION ALL {removed}", ("added", "removed")),
    ):
        _add_trigger(
            f"jobs_counted_{action}",
            f"{action} ON jobs REFERENCING {' '.join(tables[name] for name in referenced)} FOR EACH STATEMENT",
            f"UPDATE job_counts SET {sums} FROM (SELECT {differences} FROM ({changes}) AS c HAVING count(*) > 0) AS d "
            f"{own}",
        )
    _add_trigger(
        "attempts_counted_expiry",
        f"UPDATE OF outcome ON attempts FOR EACH ROW WHEN ({_EXPIRED})",
        f"UPDATE job_counts SET lease_expiries = lease_expiries + 1 {own}",
    )


def _add_trigger(name, after, statement) -> None:
    op.execute(
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {statement}; RETURN NULL; END $$"
    )
    op.execute(f"CREATE TRIGGER {name} AFTER {after} EXECUTE FUNCTION {name}()")
