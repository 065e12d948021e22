"""Which plans PostgreSQL makes: what is asked at each poll must not read a table from end to end."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event

from tests.api import Api
from tests.bench.filling import class_rows, fill, job_rows


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("job_type", ["llm_inference", "transcription"])
def test_no_statement_of_a_poll_reads_all_jobs(miner: Api, database_url: str, job_type: str) -> None:
    from coordinator.core import clock

    now = clock.machine_now_us()
    kinds: list[tuple[str, dict[str, Any]]] = [("llm_inference", {})]
    [only] = class_rows(kinds)
    fill(database_url, {"job_classes": [only], "jobs": job_rows(3000, kinds, [only["number"]], now)})
    miner.register(capabilities=[job_type])

    plans = _plans_of(miner.poll)

    assert any("jobs" in plan for plan in plans)
    assert not [plan for plan in plans if "Seq Scan on jobs" in plan]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_plans_made_while_the_tables_are_small_are_those_for_large_ones(
    client: Api, miner: Api, database_url: str
) -> None:
    client.submit()
    miner.register(concurrency=2)
    miner.poll(1)
    fill(database_url, {})
    client.submit()

    plans = _plans_of(lambda: miner.poll(1))

    reading = {index for plan in plans for index in re.findall(r"using (\w+) on attempts", plan)}
    assert reading == {"attempts_held", "attempts_expiry"}
    assert not [plan for plan in plans if re.search("Seq Scan on (jobs|attempts|miners)", plan)]


def _plans_of(poll: Callable[[], Any]) -> list[str]:
    """What PostgreSQL makes of each statement of a poll."""
    from coordinator.core.database import database

    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    event.listen(database().engine, "before_cursor_execute", note)
    poll()
    event.remove(database().engine, "before_cursor_execute", note)
    return [
        "\n".join(database().read(lambda tx, s=s, p=p: tx.exec_driver_sql(f"EXPLAIN {s}", p).scalars().all()))
        for s, p in statements
    ]
