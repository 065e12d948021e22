"""Which plans PostgreSQL makes: what is asked often, or of a full table, must go by the index that is made for it."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, event

from tests.api import Api
from tests.bench.filling import class_rows, fill, job_rows
from tests.money import ALICE, balance, give, statement, user_of

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


def fill_with_jobs(database_url: str) -> None:
    from coordinator.core import clock

    kinds: list[tuple[str, dict[str, Any]]] = [("llm_inference", {})]
    [only] = class_rows(kinds)
    now = clock.machine_now_us()
    fill(database_url, {"job_classes": [only], "jobs": job_rows(3000, kinds, [only["number"]], now)})


def plans_of(call: Callable[[], Any]) -> str:
    """The plans of all statements that a call makes."""
    from coordinator.core.database import database

    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    event.listen(database().engine, "before_cursor_execute", note)
    call()
    event.remove(database().engine, "before_cursor_execute", note)
    return "\n".join(line for told in statements for line in database().read(lambda tx, told=told: explain(tx, *told)))


def explain(tx: Connection, statement: str, parameters: Any) -> list[str]:
    if "$1" in statement:
        # One that is prepared; its plan does not depend on the values.
        tx.exec_driver_sql(f"PREPARE asked AS {statement}")
        nothing = ", ".join(["NULL"] * len(set(re.findall(r"\$\d+", statement))))
        lines = tx.exec_driver_sql(f"EXPLAIN EXECUTE asked ({nothing})").scalars().all()
        tx.exec_driver_sql("DEALLOCATE asked")
        return list(lines)
    return list(tx.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars().all())


def read_by(plans: str, table: str) -> set[str]:
    """The indexes by which a table is read, and "all of it" if it is read from end to end."""
    read = set(re.findall(rf"using (\w+) on {table}\b", plans))
    return read | ({"all of it"} if f"Seq Scan on {table}" in plans else set())


@pytest.mark.parametrize("job_type", ["llm_inference", "transcription"])
def test_a_poll_reads_jobs_by_the_queue(miner: Api, database_url: str, job_type: str) -> None:
    fill_with_jobs(database_url)
    miner.register(capabilities=[job_type])

    plans = plans_of(miner.poll)

    assert read_by(plans, "jobs") - {"jobs_queue", "jobs_pk"} == {"jobs_unfinished"}
    # Of all unfinished jobs only the first to expire is looked at.
    assert re.search(r"Limit .*\n.*using jobs_unfinished", plans)


@pytest.mark.parametrize("price", ["0", "0.1"])
@pytest.mark.parametrize("limit", [1, 9])
def test_a_known_miners_poll_reads_jobs_by_the_queue(miner: Api, database_url: str, price: str, limit: int) -> None:
    me = miner.as_(miner.key, miner.register(price=price, concurrency=9)["id"])
    me.poll()
    fill_with_jobs(database_url)
    me.poll(limit)

    plans = plans_of(lambda: me.poll(limit))

    assert "LockRows" in plans
    assert read_by(plans, "jobs") - {"jobs_queue", "jobs_pk"} == {"jobs_unfinished"}
    assert read_by(plans, "attempts") == {"attempts_held", "attempts_expiry"}


def test_plans_made_while_the_tables_are_small_are_those_for_large_ones(
    client: Api, miner: Api, database_url: str
) -> None:
    client.submit()
    miner.register(concurrency=2)
    miner.poll(1)
    fill(database_url, {})
    client.submit()

    plans = plans_of(lambda: miner.poll(1))

    assert read_by(plans, "attempts") == {"attempts_held", "attempts_expiry"}
    assert "all of it" not in read_by(plans, "jobs")


def test_a_user_and_the_ledger_are_read_by_their_indexes(admin: Api) -> None:
    alice = user_of(ALICE)
    give(admin, alice, "1")

    plans = plans_of(lambda: (balance(admin, alice), statement(admin, alice)))

    assert read_by(plans, "ledger_entries") == {"ledger_entries_of_owner"}
    assert read_by(plans, "ledger_accounts") == {"ledger_accounts_pk"}
    assert read_by(plans, "users") == {"users_pk"}


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        ("status=failed", "jobs_failed"),
        ("status=running", "jobs_pk"),
        ("miner_id=nobody", "jobs_of_miner"),
        ("client_id=nobody", "jobs_of_client"),
        ("", "jobs_pk"),
    ],
)
def test_an_operators_list_reads_jobs_by_an_index(admin: Api, database_url: str, filters: str, index: str) -> None:
    fill_with_jobs(database_url)
    admin.get("/v1/admin/jobs?limit=1")

    plans = plans_of(lambda: admin.get(f"/v1/admin/jobs?{filters}"))

    assert read_by(plans, "jobs") == {index}
