"""The model of costs and limits, on figures that are easily worked out by hand."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.capacity import PRICES, Assumptions, Measured, capacity, main

# A request of 10 ms, and 10 ms of processors for the database.
MEASURED = Measured(cycle_ms=30, direct_cycles_per_second=200, cpus=2, bytes_per_job=4000, init_ms=1000)
GIVEN = Assumptions(
    memory_mb=1769, further_requests_per_job=1, cold_starts_per_thousand=0, trip_ms=0, commit_ms=4, utilisation=0.5
)
NAMES = [name for name, price in json.loads(PRICES.read_text()).items() if isinstance(price, float)]


def test_costs_are_those_of_the_price_list() -> None:
    prices = {**dict.fromkeys(NAMES, 0.0), "lambda_million_requests": 0.2, "lambda_gb_second_x86_64": 0.00001}

    found = capacity(MEASURED, prices, GIVEN)

    assert found.request_ms == pytest.approx(10)
    assert found.costs["Lambda, requests"] == pytest.approx(4 * 0.2)
    assert found.costs["Lambda, time"] == pytest.approx(4_000_000 * 0.010 * 1769 / 1024 * 0.00001)
    assert sum(found.costs.values()) == found.costs["Lambda, requests"] + found.costs["Lambda, time"]


@pytest.mark.parametrize("name", NAMES)
def test_each_price_counts(name: str) -> None:
    nothing = dict.fromkeys(NAMES, 0.0)
    given = replace(GIVEN, signed_by_kms=True)

    found = capacity(MEASURED, nothing | {name: 1.0}, given)

    assert sum(found.costs.values()) + found.storage_per_month > 0


def test_limits_are_reached_where_all_is_busy() -> None:
    found = capacity(MEASURED, dict.fromkeys(NAMES, 0.0), replace(GIVEN, max_connections=100, lambda_concurrency=50))

    assert found.limits == pytest.approx(
        {
            "connections, without a pooler": 100 / 0.040,
            "Lambda concurrency": 50 / 0.040,
            "one payer or one payee": 250,
            "a database with two processors": 100,
        }
    )


def test_less_memory_is_a_smaller_share_of_a_processor() -> None:
    nothing = dict.fromkeys(NAMES, 0.0)

    assert capacity(MEASURED, nothing, replace(GIVEN, memory_mb=884)).request_ms == pytest.approx(20, rel=0.01)


def test_what_has_not_been_measured_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--bench", str(tmp_path)])

    assert "cycles.json" in capsys.readouterr().err
