"""What it takes to run a compiled statement without SQLAlchemy, and still as SQLAlchemy would."""

from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Executable
from sqlalchemy.exc import DBAPIError

Values = Mapping[str, Any]


def tell_listeners(tx: Connection, statement: str, values: Values) -> None:
    """Tells who listens to the engine, as of any other statement."""
    for listener in tx.dispatch.before_cursor_execute:
        listener(tx, None, statement, values, None, False)


def compiled(element: Executable, dialect: Any, values: Values) -> Any:
    # An INSERT or UPDATE without values of its own is of the columns that are named.
    return element.compile(dialect=dialect, column_keys=list(values))  # type: ignore[attr-defined]


def literals(compiled: Any) -> dict[str, Any]:
    """What stands in a statement as a literal."""
    bound: dict[str, Any] = compiled.params
    return {name: value for name, value in bound.items() if isinstance(value, int | str | float)}


def row_of(names: Iterable[str]) -> Callable[..., Any]:
    return namedtuple("Row", list(names))  # noqa: PYI024  (the names come with the result)


def wrapped(tx: Connection, text: str, error: Exception, base: type[Exception], *, lost: bool = False) -> Exception:
    """The error as SQLAlchemy would raise it."""
    return DBAPIError.instance(
        text, None, error, base, hide_parameters=True, connection_invalidated=lost, dialect=tx.dialect
    )
