"""Which plans PostgreSQL makes: what is asked at each poll must not read a table from end to end."""

from typing import Any

import pytest
from sqlalchemy import event

from tests.api import Api
from tests.bench.filling import class_rows, fill, job_rows


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("job_type", ["llm_inference", "transcription"])
def test_no_statement_of_a_poll_reads_all_jobs(api: Api, miner: Api, database_url: str, job_type: str) -> None:
    from coordinator.core import clock
    from coordinator.core.database import database

    now = clock.machine_now_us()
    kinds: list[tuple[str, dict[str, Any]]] = [("llm_inference", {})]
    [only] = class_rows(kinds)
    fill(database_url, {"job_classes": [only], "jobs": job_rows(3000, kinds, [only["id"]], now)})
    miner.register(capabilities=[job_type])
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    event.listen(database().engine, "before_cursor_execute", note)
    miner.poll()
    event.remove(database().engine, "before_cursor_execute", note)

    plans = [
        "\n".join(database().read(lambda tx, s=s, p=p: tx.exec_driver_sql(f"EXPLAIN {s}", p).scalars().all()))
        for s, p in statements
    ]
    assert any("jobs" in plan for plan in plans)
    assert not [plan for plan in plans if "Seq Scan on jobs" in plan]
