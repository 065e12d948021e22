"""Transactions on SQLite and Postgres: committed before the caller goes on, tried again where that is safe."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any, Protocol, TypeVar, cast

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from coordinator.core.config import settings
from coordinator.core.database_url import parse_url
from coordinator.core.errors import ConfigurationError
from coordinator.core.log import log_exception, logger
from coordinator.core.secrets import Given, Secret
from coordinator.core.sqlite import WriterLock, sqlite_engine
from coordinator.core.transactions import Kind, will_be

T = TypeVar("T")


class LastStep(Protocol):
    """What a transaction does just before it is committed."""

    def finish(self, tx: Connection) -> None: ...

    def explain(self, tx: Connection, error: DBAPIError) -> None:
        """Raises what it means for the caller that the database has failed, if this step knows; in a new transaction.

        On PostgreSQL a step that does not wait for its statements fails with the commit.
        """
        ...


L = TypeVar("L", bound=LastStep)

_ATTEMPTS = 5
# SQLSTATE serialization_failure, deadlock_detected, invalid_sql_statement_name (a statement that is no longer prepared)
# and feature_not_supported (one that was prepared before a migration): the server undid the transaction, and will do it
# when asked again.
_UNDONE_BY_SERVER = frozenset({"40001", "40P01", "26000", "0A000"})
_CONNECT_TIMEOUT_SECONDS = 5
# Another thread of this process has its connection for no longer.
_TURN_SECONDS = 30
STATEMENT_TIMEOUT_MS = 10_000
# A statement that is used again is worth a plan that is kept.
_PREPARED_AFTER = 2
# Of a connection that is a server's own.
_SETTINGS = {
    "statement_timeout": str(STATEMENT_TIMEOUT_MS),
    # Of what is a transaction by being sent together.
    "default_transaction_isolation": "read committed",
    # Conditions of partial indexes stand in the statements as they are, so no plan depends on a parameter.
    "plan_cache_mode": "force_generic_plan",
    # A plan made while a table was new would read it from end to end for as long as it is kept.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
_SET_UNLESS_POOLED = """
SELECT current_setting('statement_timeout'), pg_backend_pid() = %(greeted)s,
CASE WHEN pg_backend_pid() = %(greeted)s THEN (
    SELECT count(set_config(name, value, false))
    FROM unnest(%(names)s::text[], %(values)s::text[]) AS setting (name, value)
) END
"""
# What must be settled before this request has any effect.
_condition: ContextVar[Callable[[], None] | None] = ContextVar("condition", default=None)
# Where a connection keeps the last steps of its transaction.
_LAST_STEPS = "coordinator_last_steps"
_TAKE_TURN = text("SELECT pg_advisory_xact_lock(:turn)")


class Database:
    """The one connection of this process; `read` and `write` run a function inside a transaction."""

    def __init__(self, url: str | Secret[URL]) -> None:
        where: Secret[URL] = Given(parse_url(url)) if isinstance(url, str) else url
        self._writer: WriterLock | None = None
        self._is_usable: Callable[[Connection], bool] = lambda _: True
        if isinstance(where, Given) and where.value.get_backend_name() == "sqlite":
            self.engine = sqlite_engine(where.value)
            self._writer = WriterLock(Path(str(where.value.database)))
        else:
            self.engine = _postgres_engine(where)
            self._is_usable = import_module("coordinator.core.wire").is_usable
        # Kept, as taking one out of a pool for each transaction takes as long as a transaction does.
        self._connection: Connection | None = None
        self._turn = Lock()

    def read(self, work: Callable[[Connection], T]) -> T:
        """Runs work that only reads."""
        return self._run(work, Kind.READ)

    def snapshot(self, work: Callable[[Connection], T]) -> T:
        """Runs work that only reads, and whose statements must all see the same state."""
        return self._run(work, Kind.SNAPSHOT)

    def write(self, work: Callable[[Connection], T]) -> T:
        """Runs work in one transaction, committed when this returns; an exception leaves nothing behind.

        Serialization failures, deadlocks and connections that broke before the commit are tried again, so `work`
        must have no effect but on the database.
        """
        return self._run(work, Kind.WRITE)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """This process's connection, outside of any transaction, for one thread at a time.

        Raises:
            TimeoutError: another thread did not give it back.
        """
        if not self._turn.acquire(timeout=_TURN_SECONDS):
            raise TimeoutError("another thread has the connection")
        try:
            known = self._connection
            if known is not None and (known.invalidated or not self._is_usable(known)):
                self._drop()
            if self._connection is None:
                self._connection = self.engine.connect()
            yield self._connection
        finally:
            if self._connection is not None and self._connection.in_transaction():
                # What was broken off before it could be undone is not to be the next one's.
                self._drop()
            self._turn.release()

    def close(self) -> None:
        """Closes the connection; the next transaction opens another."""
        with self._turn:
            self._drop()
            self.engine.dispose()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            if not connection.invalidated:
                connection.invalidate()
            connection.close()

    def _run(self, work: Callable[[Connection], T], kind: Kind) -> T:
        attempt = 1
        while True:
            committing = False
            last_steps: dict[type[LastStep], LastStep] = {}
            try:
                with self._writers_turn(kind), self.connection() as connection:
                    if condition := _condition.get():
                        condition()
                    will_be(connection, kind)
                    connection.info[_LAST_STEPS] = last_steps
                    transaction = connection.begin()
                    try:
                        result = work(connection)
                        for step in last_steps.values():
                            step.finish(connection)
                    except BaseException:
                        transaction.rollback()
                        raise
                    committing = True
                    try:
                        transaction.commit()
                    except IntegrityError:
                        # SQLAlchemy takes the transaction for ended, but not what the server has refused.
                        self.engine.dialect.do_rollback(connection.connection)
                        transaction.rollback()
                        raise
                    except BaseException:
                        # SQLAlchemy takes the transaction for ended and would hand it to the next request as it is.
                        connection.invalidate()
                        raise
                    return result
            except DBAPIError as error:
                if attempt == _ATTEMPTS or not _was_undone(error, committing=committing):
                    self._explain(error, list(last_steps.values()))
                    raise
            attempt += 1

    def _explain(self, error: DBAPIError, steps: Sequence[LastStep]) -> None:
        if isinstance(error, IntegrityError):
            for step in steps:
                self.read(lambda tx, step=step: step.explain(tx, error))  # type: ignore[misc]

    def _writers_turn(self, kind: Kind) -> AbstractContextManager[None]:
        return self._writer.held() if kind is Kind.WRITE and self._writer else nullcontext()


@cache
def database() -> Database:
    """The database that DATABASE_URL or DATABASE_SECRET_ARN names, connected once in this process."""
    return Database(settings().database)


def load_driver() -> None:
    """Imports what this process needs for its database, so that its first request need not."""
    where = settings().database
    # SQLite is never named by a secret, and a secret is not read before it is needed.
    if isinstance(where, Given) and where.value.get_backend_name() == "sqlite":
        import_module("sqlalchemy.dialects.sqlite")
    else:
        import_module("coordinator.core.wire")
        import_module("sqlalchemy.dialects.postgresql.psycopg")


def settle_before_transactions(condition: Callable[[], None]) -> None:
    """Has something called before each further transaction of this request; what it raises is the request's end."""
    _condition.set(condition)


def last_step(tx: Connection, kind: type[L]) -> L:
    """The transaction's one object of this kind, made when first asked for; its `finish` comes before the commit."""
    steps: dict[type[L], LastStep] = tx.info[_LAST_STEPS]
    return cast("L", steps.get(kind) or steps.setdefault(kind, kind()))


def insert_new(tx: Connection, table: Any, values: dict[str, Any]) -> None:
    """Adds a row unless one with the same key exists, which then stays as it is."""
    tx.execute(upsert(tx, table).values(values).on_conflict_do_nothing())


def upsert(tx: Connection, table: Any) -> Any:
    """An INSERT of this database's own, which knows ON CONFLICT."""
    return import_module(f"sqlalchemy.dialects.{tx.dialect.name}").insert(table)


def take_turn(tx: Connection, turn: int) -> None:
    """Waits for all other transactions that took this turn to end; SQLite's writers take turns anyway.

    Any number serves as a turn as long as nothing else on the server locks it.
    """
    if tx.dialect.name == "postgresql":
        tx.execute(_TAKE_TURN, {"turn": turn})


def _was_undone(error: DBAPIError, *, committing: bool) -> bool:
    """Tells whether a failed transaction surely left no trace, so that it may run again."""
    if getattr(error.orig, "sqlstate", None) in _UNDONE_BY_SERVER:
        return True
    # A connection lost while committing may or may not have committed.
    return error.connection_invalidated and not committing


def _postgres_engine(where: Secret[URL]) -> Engine:
    from coordinator.core.wire import follow_transactions  # noqa: PLC0415  (where it is SQLite, psycopg is not needed)

    engine = create_engine(
        # A secret is read when there is something to connect for, which `_connect` does.
        where.value if isinstance(where, Given) else "postgresql+psycopg://",
        hide_parameters=True,
        pool_size=1,
        max_overflow=0,
        connect_args={
            "prepare_threshold": None,
            # No settings among them: poolers refuse what they can't keep for each client.
            "connect_timeout": _CONNECT_TIMEOUT_SECONDS,
            "application_name": "aitbc-coordinator",
            # `coordinator.core.wire` says when a transaction begins, and as what.
            "autocommit": True,
        },
    )
    if not isinstance(where, Given):
        event.listen(engine, "do_connect", _connect_by_secret(where))
    event.listen(engine, "connect", _prepare_statements_unless_pooled)
    follow_transactions(engine)
    return engine


def _connect_by_secret(where: Secret[URL]) -> Callable[..., Any]:
    """Connects by a secret as it is now. If the server refuses, the secret is read again, and if it has changed, tried.

    Which refusal it was is not asked: libpq tells it in the server's language only.
    """

    def connect(dialect: Any, _record: Any, _arguments: Any, options: dict[str, Any]) -> Any:
        def attempt(url: URL) -> Any:
            arguments, named = dialect.create_connect_args(url)
            return dialect.connect(*arguments, **{**options, **named})

        tried = where.value
        try:
            return attempt(tried)
        except dialect.loaded_dbapi.OperationalError:
            if not _replaced(where, tried):
                raise
        return attempt(where.value)

    return connect


def _replaced(where: Secret[URL], tried: URL) -> bool:
    """Tells whether there is something new to try."""
    if where.value == tried:
        try:
            where.renew()
        except ConfigurationError as error:
            # The caller's own failure says more.
            log_exception("the database's secret can't be read again", error)
    return where.value != tried


def _prepare_statements_unless_pooled(connection: Any, _record: Any) -> None:
    """Lets the server keep the plans of statements, which halves its work, if it is the server that we talk to.

    A transaction pooler hands each transaction another server connection, which has not prepared them, and on which
    nothing may be set. It shows by its greeting: poolers tell clients a process id of their own making, not that of a
    server process. Statements then have the timeout of the role, which the migration sets.
    """
    settings = {"names": list(_SETTINGS), "values": list(_SETTINGS.values())}
    told = connection.execute(_SET_UNLESS_POOLED, {"greeted": connection.info.backend_pid, **settings})
    timeout, is_servers_own, _ = told.fetchone()
    if is_servers_own:
        connection.prepare_threshold = _PREPARED_AFTER
    elif timeout == "0":
        logger.warning("statements have no timeout behind this pooler")
