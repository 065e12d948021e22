"""What migrations are made of; they are history, so none of this may come to mean something else."""

from typing import Any

import sqlalchemy as sa
from alembic import op


def ascii_text(length: int) -> sa.String:
    """Text that sorts by its bytes."""
    return sa.String(length).with_variant(sa.VARCHAR(length, collation="C"), "postgresql")


def where(condition: str) -> dict[str, Any]:
    """The rows of a partial index."""
    return {"postgresql_where": sa.text(condition), "sqlite_where": sa.text(condition)}


def refuse_changes(table: str, message: str) -> None:
    """Lets the database itself refuse to change or remove a row of a table."""
    if op.get_context().dialect.name == "sqlite":
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_refuse_{change.lower()} BEFORE {change} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
            )
        return
    op.execute(
        f"CREATE FUNCTION {table}_refuse_change() RETURNS trigger LANGUAGE plpgsql "
        f"AS $$ BEGIN RAISE EXCEPTION '{message}'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_refuse_change BEFORE UPDATE OR DELETE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {table}_refuse_change()"
    )
