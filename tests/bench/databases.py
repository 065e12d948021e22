"""The databases that the benches run on: SQLite on a file, and a PostgreSQL server of their own."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg

from tests.bench.filling import plain_url
from tests.databases import PostgresCluster, memory, migrated_sqlite, postgres_binaries, running_postgres

SQLITE, POSTGRES = "sqlite", "postgresql"


class Databases:
    """Gives fresh, migrated databases; the server is started when the first bench wants one."""

    def __init__(self, kinds: tuple[str, ...], stack: ExitStack) -> None:
        self.kinds = kinds
        self._stack = stack
        self._cluster: PostgresCluster | None = None

    @contextmanager
    def fresh(self, kind: str, *, durable: bool = True) -> Iterator[str]:
        """The URL of an empty database; one that is not durable commits without waiting for the disk.

        A file is deleted afterwards, the server's databases go with the server.
        """
        if kind == POSTGRES:
            url = self._postgres().new_database()
            if not durable:
                with psycopg.connect(plain_url(url), autocommit=True) as connection:
                    connection.execute(f"ALTER DATABASE {connection.info.dbname} SET synchronous_commit = off")
            yield url
            return
        place = None if durable else memory()
        with tempfile.TemporaryDirectory(prefix="bench-", dir=place) as folder:
            yield f"sqlite:///{migrated_sqlite(Path(folder))}"

    def _postgres(self) -> PostgresCluster:
        if self._cluster is None:
            binaries = postgres_binaries()
            assert binaries is not None
            self._cluster = self._stack.enter_context(running_postgres(binaries))
        return self._cluster


@contextmanager
def databases(kinds: tuple[str, ...]) -> Iterator[Databases]:
    with ExitStack() as stack:
        yield Databases(kinds, stack)


def kinds_here() -> tuple[str, ...]:
    return (SQLITE, POSTGRES) if postgres_binaries() else (SQLITE,)
