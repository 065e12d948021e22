"""SQLite for one machine: durable commits, and writers that take turns."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import finalize

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import StaticPool

from coordinator.core.clock import machine_now_us
from coordinator.core.compiled import tell_listeners, wrapped
from coordinator.core.config import in_lambda
from coordinator.core.errors import ConfigurationError
from coordinator.core.transactions import Kind, kind_of

BUSY_TIMEOUT_SECONDS = 10


class WriterLock:
    """Lets the writers of all processes take turns.

    SQLite's own busy handler sleeps and retries, so with many writers some starve for seconds; who waits in the
    kernel's queue for a lock on a file beside the database is woken. There are two: whoever has the first waits for the
    second, so who has just written can't take it again before one who was waiting has written.
    """

    def __init__(self, database: Path) -> None:
        self._paths = [database.with_name(database.name + suffix) for suffix in (".next", ".lock")]
        self._files: list[int] = []

    @contextmanager
    def held(self) -> Iterator[None]:
        if not self._files:
            self._files = [os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600) for path in self._paths]
            for file in self._files:
                finalize(self, os.close, file)
        first_in_line, writer = self._files
        fcntl.flock(first_in_line, fcntl.LOCK_EX)
        try:
            fcntl.flock(writer, fcntl.LOCK_EX)
        finally:
            fcntl.flock(first_in_line, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(writer, fcntl.LOCK_UN)


def sqlite_engine(url: URL) -> Engine:
    """An engine of one connection whose acknowledged commits survive a power cut.

    Raises:
        ConfigurationError: the database would stand where SQLite's locks or files don't last.
    """
    if not url.database or url.database == ":memory:":
        raise ConfigurationError("DATABASE_URL: SQLite needs a file, memory does not survive a restart")
    path = Path(url.database).absolute()
    _refuse_unsafe_place(path)
    engine = create_engine(
        url,
        hide_parameters=True,
        poolclass=StaticPool,
        connect_args={"timeout": BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
    )
    event.listen(engine, "connect", _prepare_connection)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare_connection(connection: Any, _record: Any) -> None:
    # The driver's own implicit transactions are off: `_begin` says when one starts, and as what.
    connection.isolation_level = None
    connection.create_function("now_us", 0, machine_now_us)
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(tx: Connection) -> None:
    begin = "BEGIN IMMEDIATE" if kind_of(tx) is Kind.WRITE else "BEGIN"
    tell_listeners(tx, begin, {})
    driver: Any = tx.connection.driver_connection
    try:
        driver.execute(begin)
    except sqlite3.Error as error:
        raise wrapped(tx, begin, error, sqlite3.Error) from error


def _refuse_unsafe_place(path: Path) -> None:
    if in_lambda():
        raise ConfigurationError("DATABASE_URL: SQLite can't be shared by Lambda's environments; use Postgres")
    filesystem = _filesystem_of(path)
    if filesystem.startswith(("nfs", "cifs", "smb")):
        # https://www.sqlite.org/wal.html: all processes must be on one machine; network locks are unreliable.
        raise ConfigurationError(f"DATABASE_URL: SQLite is not safe on a network file system ({filesystem})")


def _filesystem_of(path: Path) -> str:
    """The type of the file system that holds `path`, as Linux names it; empty where that is not told."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return ""
    holding = [(Path(point), kind) for point, kind in mounts if path.is_relative_to(point)]
    return max(holding, key=lambda mount: len(mount[0].parts), default=(path, ""))[1]
