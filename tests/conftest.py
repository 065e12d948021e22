"""Databases and a chain for all tests, and one line at the end for what had to be skipped."""

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from local.regtest.node import Node, install
from tests.chain.regtest import Regtest
from tests.databases import (
    PgBouncer,
    PostgresCluster,
    memory,
    migrated_sqlite,
    pgbouncer_program,
    postgres_binaries,
    running_pgbouncer,
    running_postgres,
)

# A machine that is busy is no bug.
settings.register_profile("without deadlines", deadline=None)
settings.load_profile("without deadlines")

# What could be otherwise behind a pooler: statements, transactions, locks, races. Of the rest one look is enough.
_BEHIND_PGBOUNCER = frozenset(
    f"test_{name}"
    for name in (
        *("claims", "database", "idempotency", "leases", "ledger", "ledger_check", "ledger_races", "migrations"),
        *("operator_races", "prepared", "rate_limits", "rates", "receipt_log", "receipt_log_races", "results"),
        *("sessions",),
    )
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all-behind-pgbouncer", action="store_true", help="run every test of databases behind it too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # What takes longest begins first, so that no process is left with it when the others have ended.
    items.sort(key=lambda item: item.path.parent.name != "sam")
    if config.getoption("--all-behind-pgbouncer"):
        return
    items[:] = [item for item in items if not _is_behind_pgbouncer(item) or item.path.stem in _BEHIND_PGBOUNCER]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> "_ByFile":
    return _ByFile(config, log)


class _ByFile(LoadFileScheduling):  # type: ignore[misc]  (it has no types)
    """A file's tests share what they have started, and all of SAM's a container engine; so each has one process."""

    def _split_scope(self, nodeid: str) -> str:
        return "tests/sam" if nodeid.startswith("tests/sam/") else str(super()._split_scope(nodeid))


def _is_behind_pgbouncer(item: pytest.Item) -> bool:
    """As are all tests of databases, other than those that ask for it."""
    asks_for_it = any("pgbouncer" in marker.args[1] for marker in item.iter_markers("parametrize"))
    return isinstance(item, pytest.Function) and "pgbouncer" in _parameters(item) and not asks_for_it


def _parameters(test: pytest.Function) -> list[Any]:
    return list(test.callspec.params.values()) if hasattr(test, "callspec") else []


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL (no server installed)")
    # A thousand databases are made and dropped, which on a slow disk takes longer than all else.
    with running_postgres(binaries, memory()) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return migrated_sqlite(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session")
def pgbouncer(postgres: PostgresCluster) -> Iterator[PgBouncer]:
    program = pgbouncer_program()
    if program is None:
        pytest.skip("PgBouncer (not installed)")
    with running_pgbouncer(program, postgres) as pooler:
        yield pooler


@pytest.fixture(scope="session")
def npm() -> None:
    if shutil.which("npm") is None:
        pytest.skip("Node.js (npm is not installed)")


@pytest.fixture(scope="session")
def regtest(npm: None) -> Iterator[Regtest]:
    node = Node(install())
    yield Regtest(node)
    node.stop()


@pytest.fixture(params=["sqlite", "postgresql", "pgbouncer"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh, migrated database; the test runs once on each kind."""
    if request.param == "sqlite":
        path = tmp_path / "coordinator.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    cluster: PostgresCluster = request.getfixturevalue("postgres")
    url = cluster.new_database()
    if request.param == "postgresql":
        yield url
    else:
        pooler: PgBouncer = request.getfixturevalue("pgbouncer")
        pooled_url = pooler.url(url)
        pooler.open_connections(pooled_url)
        yield pooled_url
    cluster.drop(url)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else str(report.longrepr)
        for report in terminalreporter.stats.get("skipped", [])
    )
    if reasons:
        terminalreporter.write_line("skipped: " + "; ".join(f"{why}: {count}" for why, count in reasons.most_common()))
