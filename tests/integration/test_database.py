"""The database layer on real servers."""

import psycopg
import pytest
from sqlalchemy import text

from tests.databases import PostgresCluster

KEPT_PLANS = text("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT 42%'")


def kept_plans(postgres: PostgresCluster) -> int:
    from coordinator.core.database import Database

    database = Database(postgres.new_database())
    try:
        for _ in range(5):
            database.write(lambda tx: tx.execute(text("SELECT 42")).scalar_one())
        return int(database.read(lambda tx: tx.scalar(KEPT_PLANS) or 0))
    finally:
        database.engine.dispose()


def test_a_postgres_server_keeps_the_plans_of_statements(postgres: PostgresCluster) -> None:
    assert kept_plans(postgres) == 1


def test_behind_a_pooler_no_statement_is_prepared(postgres: PostgresCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    # A pooler greets with a process id of its own making.
    monkeypatch.setattr(psycopg.ConnectionInfo, "backend_pid", property(lambda _info: 1))

    assert kept_plans(postgres) == 0
