"""What every table is declared with."""

from typing import Any

from sqlalchemy import Column, Index, MetaData, String

# All tables, with constraints and indexes named by rule, so that a migration can drop on SQLite what it made there.
metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pk",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ix": "%(table_name)s_%(column_0_N_name)s",
    }
)

CONDITION = "condition"


def column(name: str, kind: Any, *, nullable: bool = False, **options: Any) -> Column[Any]:
    """A column that always has a value, unless it says otherwise."""
    return Column(name, kind, nullable=nullable, **options)


def partial_index(name: str, *columns: Any, where: str, unique: bool = False) -> Index:
    """An index of only the rows that meet a condition.

    Queries must have the condition written out: SQLite uses the index only where it stands as it is. Only migrations
    make indexes, so only `migrations.tables` has the condition in the words of both databases, whose code is large.
    """
    return Index(name, *columns, unique=unique, info={CONDITION: where})


def _ascii_text(length: int) -> String:
    """Text that sorts by its bytes on every database: ids must come out in the order of their time."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


ID = _ascii_text(36)
# 32 bytes as hexadecimal digits.
DIGEST = _ascii_text(64)
# A name of our own making, such as `hold:<job id>:1`.
KEY = _ascii_text(128)
