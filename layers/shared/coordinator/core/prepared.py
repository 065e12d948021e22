"""Statements of the hot paths: compiled once, prepared once a connection, and sent together where none waits for one.

What SQLAlchemy and the driver do around a statement takes several times as long as the statement itself, and each
BEGIN, statement and COMMIT is a trip to the server. So these go straight to the driver on SQLite, and on PostgreSQL to
libpq (`coordinator.core.wire`). They are part of the same transaction as all other statements, in the order in which
they are called.
"""

import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from sqlalchemy import Connection, Executable

from coordinator.core.compiled import Values, compiled, literals, row_of, tell_listeners, wrapped

if TYPE_CHECKING:
    from coordinator.core.database import Database
    from coordinator.core.wire import Asked, PostgresText, Wire


class Prepared:
    """One statement, whose parameters have the same names and types whenever it is run.

    Args:
        postgresql: the statement; what its parameters are is told by the first values.
        sqlite: another one for SQLite; the same if it is left out.
    """

    def __init__(self, postgresql: Executable, *, sqlite: Executable | None = None) -> None:
        self._elements = {"postgresql": postgresql, "sqlite": sqlite if sqlite is not None else postgresql}
        self._postgres: PostgresText | None = None
        self._sqlite: _SqliteText | None = None

    def rows(self, tx: Connection, values: Values) -> list[Any]:
        """All rows, with the columns as attributes."""
        return self.later(tx, values).rows()

    def first(self, tx: Connection, values: Values) -> Any:
        """The first row; None if there is none."""
        rows = self.rows(tx, values)
        return rows[0] if rows else None

    def later(self, tx: Connection, values: Values) -> "Later":
        """Runs it with the next statement, or with the commit; what is wrong with it shows there.

        What it gives may be asked for when the transaction is committed; asked for before, it is run at once.
        """
        if tx.dialect.name == "sqlite":
            return _Done(self._on_sqlite(tx, values))
        wire: Wire = tx.connection.driver_connection.wire  # type: ignore[union-attr]
        return wire.add(tx, self._text_for_postgres(values), values)

    def ask(self, database: "Database", values: Values) -> "Asked":
        """Sends it to a PostgreSQL server as a transaction of its own; what it gives can be asked for later."""
        with database.connection() as connection:
            wire: Wire = connection.connection.driver_connection.wire  # type: ignore[union-attr]
            try:
                return wire.ask(self._text_for_postgres(values), values)
            except BaseException:
                connection.invalidate()
                raise

    def _on_sqlite(self, tx: Connection, values: Values) -> list[Any]:
        if self._sqlite is None:
            self._sqlite = _SqliteText(self._elements["sqlite"], values)
        return self._sqlite.run(tx, values)

    def _text_for_postgres(self, values: Values) -> "PostgresText":
        if self._postgres is None:
            # Where SQLite is the database, psycopg need not be imported.
            from coordinator.core.wire import PostgresText  # noqa: PLC0415

            self._postgres = PostgresText(self._elements["postgresql"], values)
        return self._postgres


class Later(Protocol):
    """A statement that may not have been run yet."""

    def rows(self) -> list[Any]:
        """All rows, with the columns as attributes."""


class _Done(NamedTuple):
    found: list[Any]

    def rows(self) -> list[Any]:
        return self.found


class _SqliteText:
    def __init__(self, element: Executable, values: Values) -> None:
        from sqlalchemy.dialects.sqlite.base import SQLiteDialect  # noqa: PLC0415  (as above)

        known = compiled(element, SQLiteDialect(paramstyle="named"), values)
        self.text = str(known)
        self._defaults = literals(known)
        self._row: Callable[..., Any] | None = None

    def run(self, tx: Connection, values: Values) -> list[Any]:
        tell_listeners(tx, self.text, values)
        try:
            driver: Any = tx.connection.driver_connection
            cursor = driver.execute(self.text, {**self._defaults, **values})
            if cursor.description is None:
                return []
            found = cursor.fetchall()
        except sqlite3.Error as error:
            raise wrapped(tx, self.text, error, sqlite3.Error) from error
        if self._row is None:
            self._row = row_of(column[0] for column in cursor.description)
        return [self._row(*row) for row in found]
