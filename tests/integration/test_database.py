"""The database layer on real servers, and behind a real pooler."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from coordinator.core.database import Database
from coordinator.migrations.upgrade import upgrade
from tests.databases import PgBouncer, PostgresCluster

KEPT_PLANS = text("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT 42%'")
TIMEOUT = text("SELECT setting FROM pg_settings WHERE name = 'statement_timeout'")

Connect = Callable[[str], Database]


@pytest.fixture
def connect() -> Iterator[Connect]:
    opened: list[Database] = []

    def to(url: str) -> Database:
        opened.append(Database(url))
        return opened[-1]

    yield to
    for database in opened:
        database.close()


def ask(database: Database, question: Any) -> Any:
    return database.read(lambda tx: tx.scalar(question))


def files_open_in(folder: Path) -> int:
    return sum(open_file.is_relative_to(folder) for open_file in map(Path.resolve, Path("/proc/self/fd").iterdir()))


def kept_plans(database: Database) -> int:
    for _ in range(5):
        database.write(lambda tx: tx.execute(text("SELECT 42")).scalar_one())
    return int(ask(database, KEPT_PLANS))


def test_a_database_that_is_let_go_leaves_no_file_open(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/coordinator.db")
    database.write(lambda tx: tx.execute(text("SELECT 42")).scalar_one())
    while_it_was = files_open_in(tmp_path)
    database.close()
    del database
    gc.collect()

    assert (while_it_was > 0, files_open_in(tmp_path)) == (True, 0)


def test_a_postgres_server_keeps_the_plans_of_statements(postgres: PostgresCluster, connect: Connect) -> None:
    assert kept_plans(connect(postgres.new_database())) == 1


@pytest.mark.parametrize("database_url", ["pgbouncer"], indirect=True)
class TestBehindPgBouncer:
    def test_no_statement_is_prepared(self, database_url: str, connect: Connect) -> None:
        assert kept_plans(connect(database_url)) == 0

    def test_nothing_is_set_on_connections_that_others_get_too(self, database_url: str, connect: Connect) -> None:
        database = connect(database_url)
        set_here = text("SELECT count(*) FROM pg_settings WHERE source = 'session' AND name LIKE ANY (:ours)")
        ours = {"ours": ["enable%", "jit", "plan_cache_mode", "statement_timeout"]}

        assert [database.read(lambda tx: tx.scalar(set_here, ours)) for _ in range(4)] == [0] * 4

    def test_transactions_change_between_connections_and_are_whole(self, database_url: str, connect: Connect) -> None:
        database = connect(database_url)
        own = text("SELECT pg_backend_pid()")

        pairs = [database.write(lambda tx: (tx.scalar(own), tx.scalar(own))) for _ in range(4)]

        assert all(one == other for one, other in pairs)
        assert len({one for one, _ in pairs}) == 2


def test_statements_have_a_timeout_on_a_server(postgres: PostgresCluster, connect: Connect) -> None:
    assert ask(connect(postgres.new_database()), TIMEOUT) == "10000"


def test_statements_have_a_timeout_behind_a_pooler_once_the_migration_ran(
    postgres: PostgresCluster, pgbouncer: PgBouncer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    url = postgres.new_database(template="template1")

    upgrade(url)

    assert ask(connect(pgbouncer.url(url)), TIMEOUT) == "10000"
    assert caplog.messages == []


def test_a_missing_timeout_behind_a_pooler_is_told(
    postgres: PostgresCluster, pgbouncer: PgBouncer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    ask(connect(pgbouncer.url(postgres.new_database(template="template1"))), TIMEOUT)

    assert caplog.messages == ["statements have no timeout behind this pooler"]


def test_a_timeout_that_the_operator_has_chosen_stays(
    postgres: PostgresCluster, pgbouncer: PgBouncer, connect: Connect
) -> None:
    url = postgres.new_database(template="template1")
    name = url.partition("?")[0].rpartition("/")[2]
    connect(url).write(lambda tx: tx.execute(text(f"ALTER DATABASE {name} SET statement_timeout = 3000")))

    upgrade(url)

    assert ask(connect(pgbouncer.url(url)), TIMEOUT) == "3000"


def test_a_migration_may_take_longer_than_a_request(postgres: PostgresCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    url = postgres.new_database(template="template1")
    timeouts: list[str] = []

    def note(tx: Any, _turn: int) -> None:
        timeouts.append(tx.scalar(TIMEOUT))

    monkeypatch.setattr("coordinator.migrations.upgrade.take_turn", note)
    upgrade(url)

    # Waiting for another migration is part of it.
    assert timeouts == ["0"]
