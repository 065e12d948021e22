"""Column types that every table shares."""

from typing import Any, cast

from sqlalchemy import Column, Index, String, Table
from sqlmodel import SQLModel

# Named by rule, so that a migration can drop on SQLite what it made there.
SQLModel.metadata.naming_convention = {
    "pk": "%(table_name)s_pk",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ix": "%(table_name)s_%(column_0_N_name)s",
}

CONDITION = "condition"


def table_of(model: type[SQLModel]) -> Table:
    """The table behind a model, for statements of SQLAlchemy Core."""
    return cast("Table", model.__table__)  # type: ignore[attr-defined]


def partial_index(name: str, *columns: Any, where: str, unique: bool = False) -> Index:
    """An index of only the rows that meet a condition.

    Queries must have the condition written out: SQLite uses the index only where it stands as it is. Only migrations
    make indexes, so only `migrations.tables` has the condition in the words of both databases, whose code is large.
    """
    return Index(name, *columns, unique=unique, info={CONDITION: where})


def id_column(*, primary_key: bool = False, nullable: bool = False, unique: bool = False) -> Column[Any]:
    return Column(_ascii_text(36), primary_key=primary_key, nullable=nullable, unique=unique)


def digest_column(*, primary_key: bool = False, nullable: bool = False, unique: bool = False) -> Column[Any]:
    """Holds 32 bytes as hexadecimal digits."""
    return Column(_ascii_text(64), primary_key=primary_key, nullable=nullable, unique=unique)


def key_column(*, primary_key: bool = False) -> Column[Any]:
    """Holds a name of our own making, such as `hold:<job id>:1`."""
    return Column(_ascii_text(128), primary_key=primary_key, nullable=False)


def _ascii_text(length: int) -> String:
    """Text that sorts by its bytes on every database: ids must come out in the order of their time."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")
