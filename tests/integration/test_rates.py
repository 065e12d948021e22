"""The counters: never more than the limit in any minute, exactly that many from any number of processes."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from coordinator.core.rates import WINDOW_US, Log, Rates
from tests.api import SECRET_KEY, forget_process_state, let_pass
from tests.databases import PostgresCluster

ROOT = Path(__file__).parents[2]
SECOND_US = 1_000_000
# Beyond 100 calls a minute those within 0.6 s are noted together.
LONGEST_DELAY_US = 600_000

PROCESSES = 8
HAMMERING = """
import sys
from coordinator.core.rates import rates
rates().take("somebody else", 100)()
print("ready", flush=True)
sys.stdin.readline()
print(sum(rates().take("somebody", 100)().admitted for _ in range(40)))
"""


@pytest.fixture
def counters(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Rates]]:
    """Gives the counters as a process has them that has just begun."""
    from coordinator.core import rates

    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("SECRET_KEY", SECRET_KEY)

    def begin() -> Rates:
        forget_process_state()
        return rates.rates()

    yield begin
    forget_process_state()


def counted(admitted_us: list[int], now_us: int, window_us: int = WINDOW_US) -> int:
    return sum(now_us - window_us < at for at in admitted_us)


gaps_us = st.one_of(
    st.integers(0, 3 * SECOND_US),
    st.integers(0, 2 * WINDOW_US),
    st.sampled_from([0, 1, WINDOW_US - 1, WINDOW_US, WINDOW_US + 1]),
)
limits = st.one_of(st.integers(1, 6), st.sampled_from([99, 100, 101, 130]))
# Many at the same moment, then a pause.
arrivals = st.lists(st.tuples(gaps_us, st.integers(1, 60)), max_size=25)


@given(limits, arrivals)
def test_no_minute_has_more_than_the_limit_and_nobody_is_refused_without_need(
    limit: int, arrivals: list[tuple[int, int]]
) -> None:
    log = Log()
    now_us = 0
    admitted: list[int] = []

    for gap_us, calls in arrivals:
        now_us += gap_us
        for _ in range(calls):
            log = Log(log.packed())
            before = counted(admitted, now_us)
            verdict = log.take(now_us, limit)

            if verdict.admitted:
                admitted.append(now_us)
                assert before < limit
            else:
                assert counted(admitted, now_us, WINDOW_US + (LONGEST_DELAY_US if limit > 100 else 0)) >= limit
                assert Log(log.packed()).take(now_us + verdict.freed_in_us, limit).admitted
                assert not Log(log.packed()).take(now_us + verdict.freed_in_us - 1, limit).admitted
            if limit <= 100:
                assert verdict.remaining == limit - counted(admitted, now_us)


@given(st.sampled_from([1, 100, 130, 1000]), arrivals)
def test_whoever_was_quiet_for_a_minute_has_all_calls_again(limit: int, arrivals: list[tuple[int, int]]) -> None:
    log = Log()
    now_us = 0
    for gap_us, calls in arrivals:
        now_us += gap_us
        for _ in range(calls):
            log.take(now_us, limit)

    assert log.take(now_us + WINDOW_US, limit) == (True, limit - 1, WINDOW_US)


@given(st.lists(st.integers(0, 20 * SECOND_US), min_size=200, max_size=400))
def test_a_log_stays_small_whatever_the_limit(gaps: list[int]) -> None:
    log = Log()
    now_us = 0
    for gap_us in gaps:
        now_us += gap_us // 100
        log.take(now_us, 1_000_000)

    assert len(log.packed()) <= 8 * (1 + 2 * 101)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limit=st.sampled_from([1, 3, 100, 130]),
    # Whole seconds, so that the little time that really passes changes nothing.
    arrivals=st.lists(
        st.tuples(st.sampled_from([0, 1, 7, 13, 29, 30, 31, 47, 59, 60, 61, 119]), st.integers(1, 70)), max_size=8
    ),
)
def test_the_stored_counters_admit_the_same(
    counters: Callable[[], Rates], limit: int, arrivals: list[tuple[int, int]]
) -> None:
    rates = counters()
    let_pass(1000)
    rates.sweep()
    now = 0
    admitted: list[int] = []

    for seconds, calls in arrivals:
        now += seconds
        let_pass(seconds)
        for _ in range(calls):
            expected = counted(admitted, now, 60) < limit
            verdict = rates.take("somebody", limit)()

            admitted += [now] if expected else []
            assert (verdict.admitted, verdict.remaining) == (expected, limit - counted(admitted, now, 60))
            oldest = min(at for at in admitted if now - 60 < at)
            assert 59 < now - oldest + verdict.freed_in_us / SECOND_US <= 60


def test_eight_processes_together_admit_exactly_the_limit(counters: Callable[[], Rates]) -> None:
    rates = counters()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", HAMMERING],
            cwd=ROOT / "layers/shared",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(PROCESSES)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    admitted = [int(process.communicate(timeout=60)[0]) for process in processes]

    assert sum(admitted) == 100
    assert not rates.take("somebody", 100)().admitted
    let_pass(60)
    assert rates.take("somebody", 100)().remaining == 99


def test_a_restart_keeps_the_counts(counters: Callable[[], Rates]) -> None:
    for _ in range(2):
        counters().take("somebody", 2)()

    assert not counters().take("somebody", 2)().admitted


def test_keys_are_counted_apart(counters: Callable[[], Rates]) -> None:
    rates = counters()
    rates.take("somebody", 1)()

    assert rates.take("somebody else", 1)().admitted
    assert not rates.take("somebody", 1)().admitted


def test_a_limit_that_was_lowered_holds_at_once(counters: Callable[[], Rates]) -> None:
    rates = counters()
    for _ in range(5):
        rates.take("somebody", 10)()

    verdict = rates.take("somebody", 3)()

    assert (verdict.admitted, verdict.remaining) == (False, 0)


def rows(counters: Rates) -> int:
    from coordinator.core.database import database
    from coordinator.core.rates import SqliteRates

    if isinstance(counters, SqliteRates):
        return int(counters._connected().execute("SELECT count(*) FROM rate_counters").fetchone()[0])
    return int(database().read(lambda tx: tx.execute(text("SELECT count(*) FROM rate_counters")).scalar_one()))


def test_a_sweep_removes_only_what_no_longer_counts(counters: Callable[[], Rates]) -> None:
    rates = counters()
    rates.take("old", 1)()
    let_pass(121)
    rates.take("new", 1)()

    rates.sweep()

    assert rows(rates) == 1
    assert not rates.take("new", 1)().admitted


def test_a_clock_that_was_set_back_does_not_lock_anybody_out(counters: Callable[[], Rates]) -> None:
    rates = counters()
    rates.take("somebody", 1)()
    let_pass(-3600)
    assert not rates.take("somebody", 1)().admitted

    rates.sweep()

    assert rates.take("somebody", 1)().admitted


def test_counters_broken_by_a_power_cut_are_begun_anew(sqlite_template: Path, tmp_path: Path) -> None:
    from coordinator.core.rates import SqliteRates

    path = tmp_path / "coordinator.db.rates"
    path.write_bytes(b"what a disk may hold after a power cut" * 100)

    assert SqliteRates(path).take("somebody", 1)().admitted
    assert not SqliteRates(path).take("somebody", 1)().admitted


def test_postgres_does_not_log_what_it_counts(postgres: PostgresCluster) -> None:
    from coordinator.core.database import Database

    database = Database(postgres.new_database())
    kind = text("SELECT relpersistence FROM pg_class WHERE relname = 'rate_counters'")

    assert database.read(lambda tx: tx.scalar(kind)) == "u"
    database.close()


@pytest.mark.parametrize("database_url", ["pgbouncer"], indirect=True)
def test_behind_a_pooler_it_counts_without_a_kept_plan(database_url: str) -> None:
    from coordinator.core.database import Database
    from coordinator.core.rates import PostgresRates

    database = Database(database_url)
    rates = PostgresRates(database)

    assert [rates.take("somebody", 2)().admitted for _ in range(3)] == [True, True, False]
    plans = text("SELECT count(*) FROM pg_prepared_statements")
    assert database.read(lambda tx: tx.scalar(plans)) == 0
    database.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_calls_are_counted_again_once_a_migration_has_changed_the_columns(database_url: str) -> None:
    from coordinator.core.database import Database
    from coordinator.core.rates import PostgresRates

    database, migrating = Database(database_url), Database(database_url)
    rates = PostgresRates(database)
    assert rates.take("somebody", 2)().admitted
    migrating.write(lambda tx: tx.execute(text("ALTER TABLE rate_counters ALTER used TYPE bigint")))
    migrating.close()
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        rates.take("somebody", 2)()

    assert [rates.take("somebody", 2)().admitted for _ in range(2)] == [True, False]
    database.close()
