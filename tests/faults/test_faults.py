"""Whatever is killed, restarted, filled up or wrong: every acknowledged job is finished once, with one receipt."""

import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases import PgBouncer, PostgresCluster
from tests.faults.conftest import OpenMarket
from tests.faults.judge import broken_promises
from tests.faults.market import Market


def test_miners_are_killed(market: Market) -> None:
    market.open_to(clients=5, miners=7)
    market.add_reference_miner("reference")
    market.warm_up()

    for _ in range(20):
        time.sleep(market.random.uniform(0.1, 0.4))
        market.start_miner(market.kill_miner())
    # These never come back for what they hold.
    for _ in range(3):
        market.kill_miner()
    market.settle()

    assert broken_promises(market) == []
    assert market.troubles() == Counter()
    assert market.rows("SELECT job_id FROM attempts WHERE outcome = 'released'")


def test_execution_environments_are_killed(market: Market) -> None:
    market.open_to(clients=5, miners=8)
    market.warm_up()

    killed = 0
    while killed < 15:
        time.sleep(market.random.uniform(0.1, 0.5))
        killed += market.kill_an_environment()
    market.settle()

    assert broken_promises(market) == []
    # Each costs the one request that it was serving, if any.
    troubles = market.troubles()
    assert set(troubles) == {"502 FUNCTION_ERROR"}
    assert troubles.total() <= killed


def test_the_emulator_is_killed(market: Market) -> None:
    market.open_to(clients=5, miners=8)
    market.warm_up()

    for _ in range(3):
        time.sleep(market.random.uniform(0.2, 2.0))
        market.restart_emulator()
    market.go_on()
    market.settle()

    assert broken_promises(market) == []
    assert set(market.troubles()) == {"no answer"}


@pytest.mark.parametrize("database_url", ["postgresql", "pgbouncer"], indirect=True)
def test_postgres_is_restarted(market: Market, postgres: PostgresCluster) -> None:
    market.open_to(clients=5, miners=8)
    market.warm_up()

    for mode in ("fast", "immediate"):
        time.sleep(market.random.uniform(0.2, 1.5))
        postgres.restart(mode)
        market.go_on()
    market.settle()

    assert broken_promises(market) == []
    assert set(market.troubles()) == {"500 INTERNAL_ERROR"}


@pytest.mark.parametrize("database_url", ["pgbouncer"], indirect=True)
def test_the_pooler_is_killed(market: Market, pgbouncer: PgBouncer) -> None:
    market.open_to(clients=5, miners=8)
    market.warm_up()

    for _ in range(2):
        time.sleep(market.random.uniform(0.2, 1.5))
        pgbouncer.restart()
        market.go_on()
    market.settle()

    assert broken_promises(market) == []
    assert set(market.troubles()) == {"500 INTERNAL_ERROR"}


@pytest.fixture
def small_volume(tmp_path: Path) -> Iterator[Path]:
    """The emulator's volume as a file system of a few megabytes."""
    volume = tmp_path / "volume"
    volume.mkdir(mode=0o700)
    mount = ("mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", volume)
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("disk-full test (needs root to mount a tmpfs)")
    yield volume
    subprocess.run(["umount", volume], check=True)


def test_the_disk_is_full(small_volume: Path, open_market: OpenMarket) -> None:
    market = open_market(None)
    market.open_to(clients=5, miners=8, parameters_size=2000)
    market.warm_up()

    for _ in range(2):
        fill(small_volume / "ballast")
        market.fail()
        (small_volume / "ballast").unlink()
        market.go_on()
    market.settle()

    assert broken_promises(market) == []
    assert set(market.troubles()) == {"500 INTERNAL_ERROR"}


def fill(ballast: Path) -> None:
    with ballast.open("ab", buffering=0) as file:
        for size in (65_536, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass


WRONG_CLOCK = """\
import runpy, sys, time
right, right_ns = time.time, time.time_ns
time.time = lambda: right() + {hours} * 3600
time.time_ns = lambda: right_ns() + {hours} * 3600 * 10**9
runpy.run_module("local.miner", run_name="__main__", alter_sys=True)
"""


def test_miners_have_wrong_clocks(market: Market) -> None:
    for hours in (-7, 7):
        # Each job takes longer than a lease lasts.
        market.add_reference_miner(f"clock{hours:+}", ("-c", WRONG_CLOCK.format(hours=hours)), work_seconds=3)
    market.open_to(clients=2, miners=0)

    market.wait(lambda: len(market.rows("SELECT id FROM jobs WHERE status = 'completed'")) >= 4)
    market.settle()

    assert broken_promises(market) == []
    assert market.rows("SELECT * FROM attempts WHERE outcome IN ('expired', 'released')") == []
