"""Prepared statements on PostgreSQL, straight by libpq: in pipeline mode, where one trip carries several.

https://www.postgresql.org/docs/current/libpq-pipeline-mode.html
"""

import select
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any

from psycopg import Error, OperationalError
from psycopg.errors import InFailedSqlTransaction, error_from_result
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus
from sqlalchemy import Connection, Engine, Executable, event
from sqlalchemy.dialects.postgresql.base import PGDialect

from coordinator.core.compiled import Values, compiled, literals, row_of, tell_listeners, wrapped
from coordinator.core.transactions import Kind, kind_of

if TYPE_CHECKING:
    from coordinator.core.database import Database

# At READ COMMITTED every statement has its own snapshot; so where nothing is written, each is its own transaction.
_BEGIN = {
    Kind.READ: None,
    Kind.SNAPSHOT: b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    Kind.WRITE: b"BEGIN ISOLATION LEVEL READ COMMITTED",
}
_COMMIT = b"COMMIT"
_ROLLBACK = b"ROLLBACK"
# https://www.postgresql.org/docs/current/errcodes-appendix.html: after these another connection is needed.
# Connection exceptions; shut down, crashed, starting; and feature_not_supported, as a migration has changed the columns
# of what is prepared, which stays as it is for as long as the connection does.
_CONNECTION_UNUSABLE = ("08", "57P", "0A000")
# Somebody had the server forget what was prepared: psycopg does after ALTER and DROP, a pooler may between its clients.
_STATEMENT_FORGOTTEN = "26000"
_numbers = count(1)


def follow_transactions(engine: Engine) -> None:
    """Has what waits on a connection of this engine sent before other statements, and with the commit."""

    # First of all, as others may speak to the server.
    @event.listens_for(engine, "connect", insert=True)
    def connect(driver: Any, _record: Any) -> None:
        driver.wire = Wire(driver)

    @event.listens_for(engine, "begin")
    def begin(tx: Connection) -> None:
        driver: Any = tx.connection.driver_connection
        driver.wire.begin(_BEGIN[kind_of(tx)])

    @event.listens_for(engine, "handle_error")
    def replace(context: Any) -> None:
        if _is_unusable_after(context.original_exception):
            context.is_disconnect = True

    @event.listens_for(engine, "before_cursor_execute")
    def send(tx: Connection, cursor: Any, *_: Any) -> None:
        # Of our own statements the others are told without a cursor.
        driver: Any = tx.connection.driver_connection
        if cursor is not None:
            driver.wire.send(tx)

    dialect: Any = engine.dialect
    undo = dialect.do_rollback

    def commit(connection: Any) -> None:
        connection.driver_connection.wire.commit()

    def rollback(connection: Any) -> None:
        wire = connection.driver_connection.wire
        # What is asked alone is no part of a transaction.
        if wire.asked is None and not wire.idle:
            wire.rollback()
            undo(connection)

    # There is no event for what stands in their place; those that there are come before it, as they should.
    dialect.do_commit, dialect.do_rollback = commit, rollback


def is_usable(connection: Connection) -> bool:
    """Tells whether a connection can be spoken to, having heard what was asked on it."""
    wire: Wire = connection.connection.driver_connection.wire  # type: ignore[union-attr]
    return wire.hear() if wire.asked is not None else not wire.closed_by_server()


class Asked:
    """A statement that was sent by itself, and whose result nobody has waited for yet."""

    def __init__(self, text: "PostgresText", values: Values) -> None:
        self.text, self.values = text, values
        self._result: Any = None
        self._error: Error | None = None

    def row(self, database: "Database") -> Any:
        """The first row of its result.

        Raises:
            Error: it failed.
        """
        if self._result is None and self._error is None:
            # Whoever takes the connection hears what was asked on it.
            with database.connection():
                pass
        if self._error is not None:
            raise self._error
        return self.text.rows(self._result)[0]

    def heard(self, result: Any) -> None:
        self._result = result

    def failed(self, error: Error) -> None:
        self._error = error


class Waiting:
    """A statement of a transaction that goes with the next trip."""

    def __init__(self, wire: "Wire", tx: Connection, text: "PostgresText", values: Values) -> None:
        self.text, self.values = text, values
        self._wire, self._tx = wire, tx
        self._result: Any = None

    def rows(self) -> list[Any]:
        """All rows; if it still waits, that takes a trip."""
        if self._result is None:
            self._wire.send(self._tx)
        return self.text.rows(self._result)

    def heard(self, result: Any) -> None:
        self._result = result


class PostgresText:
    """A statement as the server knows it; all its parameters are sent as text."""

    def __init__(self, element: Executable, values: Values) -> None:
        known: Any = compiled(element, PGDialect(paramstyle="numeric_dollar"), values)  # type: ignore[no-untyped-call]
        self.text = str(known)
        self.sql = self.text.encode()
        self.name = b"coordinator_%d" % next(_numbers)
        self._defaults = literals(known)
        self._names: list[str] = list(dict.fromkeys(known.positiontup or ()))
        # Told, as the server takes a number for the type of what it first stands beside.
        self.types = [_TYPES.get(type(self._value(name, values)), 0) for name in self._names]
        self._read: tuple[Callable[..., Any], list[Callable[[bytes], Any]]] | None = None

    def parameters(self, values: Values) -> list[bytes | None]:
        return [_encode(self._value(name, values)) for name in self._names]

    def rows(self, result: Any) -> list[Any]:
        if not result.nfields:
            return []
        if self._read is None:
            columns = range(result.nfields)
            self._read = (
                row_of(result.fname(column).decode() for column in columns),
                [_DECODERS[result.ftype(column)] for column in columns],
            )
        row, decoders = self._read
        get = result.get_value
        return [
            row(
                *(
                    None if (value := get(number, column)) is None else decode(value)
                    for column, decode in enumerate(decoders)
                )
            )
            for number in range(result.ntuples)
        ]

    def _value(self, name: str, values: Values) -> Any:
        return values[name] if name in values else self._defaults[name]


class Wire:
    """A connection to a PostgreSQL server, by libpq."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._pgconn = driver.pgconn
        self._prepared: set[bytes] = set()
        self._poll = select.poll()
        self._poll.register(self._pgconn.socket, select.POLLIN)
        # What goes with the next trip.
        self.waiting: list[Waiting] = []
        # What is under way while the connection is in the pool.
        self.asked: Asked | None = None
        # Of each command that is under way, the name that it prepares or who hears its result.
        self._sent: list[bytes | Asked | Waiting | None] = []
        # What begins the transaction, unless its statements are their own.
        self._begin: bytes | None = None

    @property
    def idle(self) -> bool:
        """Whether there is nothing to undo."""
        return not self.waiting and self._pgconn.transaction_status == TransactionStatus.IDLE

    def closed_by_server(self) -> bool:
        """Whether that can be seen without asking it; once COMMIT is sent nobody could tell what became of it."""
        with suppress(Error):
            while self._pgconn.status == ConnStatus.OK and self._poll.poll(0):
                self._pgconn.consume_input()
        return bool(self._pgconn.status != ConnStatus.OK)

    def begin(self, how: bytes | None) -> None:
        """Begins a transaction, with its first statement."""
        self._begin = how

    def add(self, tx: Connection, text: PostgresText, values: Values) -> Waiting:
        tell_listeners(tx, text.text, values)
        added = Waiting(self, tx, text, values)
        self.waiting.append(added)
        return added

    def ask(self, text: PostgresText, values: Values) -> Asked:
        """Sends a statement as a transaction of its own, and waits for nothing."""
        asked = Asked(text, values)
        self._send([asked])
        while self._pgconn.flush():
            self._poll_to_send()
        self.asked = asked
        return asked

    def hear(self) -> bool:
        """Waits for what was asked; tells whether the connection can still be used."""
        asked, self.asked = self.asked, None
        try:
            self._receive()
        except Error as error:
            assert asked is not None  # noqa: S101
            asked.failed(error)
            return self._pgconn.status == ConnStatus.OK and not _is_unusable_after(error)
        except BaseException:
            # An answer may be under way that nobody would wait for.
            self._driver.close()
            raise
        return True

    def send(self, tx: Connection) -> None:
        """Sends what waits, and what begins the transaction before it, and hears what it gives."""
        begin = self._begin if self._pgconn.transaction_status == TransactionStatus.IDLE else None
        if begin is None and not self.waiting:
            return
        waiting, self.waiting = self.waiting, []
        try:
            self._pipeline(waiting, begin=begin)
        except Error as error:
            lost = self._pgconn.status != ConnStatus.OK or _is_unusable_after(error)
            if lost:
                tx.invalidate(error)
            told = waiting[-1].text.text if waiting else (begin or b"").decode()
            raise wrapped(tx, told, error, Error, lost=lost) from error
        except BaseException:
            # Answers may be under way that nobody would wait for.
            tx.invalidate()
            raise

    def commit(self) -> None:
        """Commits, after what waits."""
        waiting, self.waiting = self.waiting, []
        if self._pgconn.transaction_status != TransactionStatus.IDLE:
            self._pipeline(waiting, commit=True)
        elif waiting:
            # What is sent together is a transaction of the server's default kind, which may be another behind a pooler.
            implied = self._begin == _BEGIN[Kind.WRITE] and self._driver.prepare_threshold is not None
            begin = None if implied else self._begin
            self._pipeline(waiting, begin=begin, commit=begin is not None)

    def rollback(self) -> None:
        """Undoes what was done; the driver, which would have the server forget all that is prepared, need not."""
        self.waiting.clear()
        if self._pgconn.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
            # Where it fails the driver's own will, and be told.
            with suppress(Error):
                self._pgconn.exec_(_ROLLBACK)

    def _pipeline(self, statements: Sequence[Waiting], *, begin: bytes | None = None, commit: bool = False) -> None:
        """Sends statements in one go, and hears their results.

        Raises:
            Error: one of them failed, the first that did; those after it were not run. Or the connection broke.
        """
        self._send(statements, begin=begin, commit=commit)
        self._receive()

    def _send(self, statements: Sequence[Asked | Waiting], *, begin: bytes | None = None, commit: bool = False) -> None:
        pgconn = self._pgconn
        given = [(statement, statement.text.parameters(statement.values)) for statement in statements]
        self._sent = sent = list[bytes | Asked | Waiting | None]()
        pgconn.enter_pipeline_mode()
        if begin is not None:
            pgconn.send_query_params(begin, None)
            sent.append(None)
        for statement, parameters in given:
            text = statement.text
            if self._driver.prepare_threshold is None:
                pgconn.send_query_params(text.sql, parameters, param_types=text.types)
            else:
                if text.name not in self._prepared and text.name not in sent:
                    pgconn.send_prepare(text.name, text.sql, param_types=text.types)
                    sent.append(text.name)
                pgconn.send_query_prepared(text.name, parameters)
            sent.append(statement)
        if commit:
            pgconn.send_query_params(_COMMIT, None)
            sent.append(None)
        pgconn.pipeline_sync()

    def _receive(self) -> None:
        results = [self._result_of_command() for _ in self._sent]
        refusal = self._end_of_pipeline()
        self._pgconn.exit_pipeline_mode()
        for sent, result in zip(self._sent, results, strict=True):
            if result.status == ExecStatus.FATAL_ERROR:
                failure = error_from_result(result)
                if failure.sqlstate == _STATEMENT_FORGOTTEN:
                    self._prepared.clear()
                raise failure
            if isinstance(sent, bytes):
                self._prepared.add(sent)
            elif sent is not None:
                sent.heard(result)
            elif result.command_status == _ROLLBACK:
                # Somebody went on after an error, and the server answers a COMMIT so.
                raise InFailedSqlTransaction("nothing was committed, as a statement before had failed")
        if refusal is not None:
            raise error_from_result(refusal)

    def _end_of_pipeline(self) -> Any:
        """What the server says when it can't commit what is a transaction by being sent together."""
        refusal = None
        while (result := self._result()) is None or result.status != ExecStatus.PIPELINE_SYNC:
            if self._pgconn.status != ConnStatus.OK:
                raise OperationalError(self._pgconn.get_error_message())
            refusal = refusal if result is None else result
        return refusal

    def _result_of_command(self) -> Any:
        result = self._result()
        if result is None:
            raise OperationalError(self._pgconn.get_error_message())
        # Nothing stands between the results of two commands.
        self._result()
        return result

    def _result(self) -> Any:
        pgconn = self._pgconn
        while pgconn.flush():
            self._poll_to_send()
        while pgconn.is_busy():
            # Other threads go on meanwhile, which they would not while libpq waits.
            self._poll.poll()
            pgconn.consume_input()
        return pgconn.get_result()

    def _poll_to_send(self) -> None:
        self._poll.modify(self._pgconn.socket, select.POLLIN | select.POLLOUT)
        self._poll.poll()
        self._pgconn.consume_input()
        self._poll.modify(self._pgconn.socket, select.POLLIN)


def _is_unusable_after(error: BaseException) -> bool:
    return (getattr(error, "sqlstate", None) or "").startswith(_CONNECTION_UNUSABLE)


def _encode(value: Any) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, int):
        return b"%d" % value
    if isinstance(value, float):
        return repr(value).encode()
    return b"{%b}" % b",".join(b"%d" % number for number in value)


# https://www.postgresql.org/docs/current/catalog-pg-type.html: bigint, double precision, boolean, bigint[].
_TYPES = {int: 20, float: 701, bool: 16, list: 1016}
_DECODERS: dict[int, Callable[[bytes], Any]] = {
    16: b"t".__eq__,
    **dict.fromkeys((20, 21, 23), int),
    **dict.fromkeys((25, 1043), bytes.decode),
    701: float,
}
