"""Polls of a miner that this process has seen before, which PostgreSQL serves in one trip: the rules stay the same."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from tests.api import CLIENT, MINER, OTHER_MINER, SECRET_KEY, Api
from tests.bench.processes import Meet, together
from tests.integration.test_queue_model import LAWS
from tests.money import ALICE, give, give_users

PROCESSES = 8
LIMIT = 3
ROUNDS = 12
_LARGE_GPU = {"gpus": [{"name": "A100", "memory_mb": 81_920}]}
# Priority, price and class of a job.
_JOB = st.tuples(st.sampled_from((0, 5, 9)), st.integers(0, 3), st.integers(1, 4))


def execute(statement: str, **values: Any) -> Any:
    from coordinator.core.database import database

    return database().write(lambda tx: tx.execute(text(statement), values).mappings().all())


def change(statement: str, **values: Any) -> None:
    from coordinator.core.database import database

    database().write(lambda tx: tx.execute(text(statement), values))


def broken_laws() -> dict[str, Any]:
    return {law: found for law, statement in LAWS.items() if (found := execute(statement))}


def known(miner: Api, **registration: Any) -> Api:
    """A miner that has polled once, and found nothing."""
    me = miner.as_(miner.key, miner.register(**registration)["id"])
    assert me.poll() == []
    return me


@pytest.fixture
def rich_client(client: Api, monkeypatch: pytest.MonkeyPatch) -> Api:
    give(client, give_users(monkeypatch, {CLIENT: ALICE})[ALICE], "1")
    return client


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(("concurrency", "price"), [(1, "0"), (9, "0"), (1, "0.00000001"), (9, "0.00000001")])
def test_postgresql_serves_a_known_miner_without_a_second_look(
    rich_client: Api, miner: Api, monkeypatch: pytest.MonkeyPatch, concurrency: int, price: str
) -> None:
    from coordinator.jobs import queue

    rich_client.submit(max_price="0.1")
    me = miner.as_(MINER, miner.register(concurrency=concurrency, price=price)["id"])
    me.answer(me.poll(1)[0])
    monkeypatch.setattr(queue, "poll", None)

    idle = me.get("/v1/miner/jobs").json
    waiting = [rich_client.submit(max_price="0.1")["id"] for _ in range(concurrency)]

    assert (idle["items"], idle["poll_after_seconds"] >= 0.2) == ([], True)
    assert [item["id"] for item in me.poll()] == waiting
    assert broken_laws() == {}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(waiting=st.lists(_JOB, min_size=1, max_size=12), price=st.integers(0, 2), limit=st.sampled_from((1, 2, 100)))
def test_jobs_come_by_priority_then_price_then_age(
    rich_client: Api, miner: Api, waiting: list[tuple[int, int, int]], price: int, limit: int
) -> None:
    for table in ("attempts", "jobs"):
        change(f"DELETE FROM {table}")
    me = known(miner, hardware=_LARGE_GPU, price=f"{price / 10**8:.8f}", concurrency=100)
    jobs = []
    for priority, atoms, size in waiting:
        job = rich_client.submit(priority=priority, max_price=f"{atoms / 10**8:.8f}", constraints={"min_vram_gb": size})
        jobs.append((-priority, -atoms, job["id"]))
    # The first finds the classes that are new.
    taken = me.poll(1)

    while more := me.poll(limit):
        taken += more

    assert [item["id"] for item in taken] == [job_id for _, atoms, job_id in sorted(jobs) if -atoms >= price]
    assert len({item["lease_token"] for item in taken}) == len(taken)


def test_a_known_miner_at_its_limit_is_handed_what_it_holds(client: Api, miner: Api) -> None:
    me = known(miner, concurrency=2)
    waiting = [client.submit()["id"] for _ in range(3)]

    first, second = me.poll(), me.poll()

    assert [item["id"] for item in first] == [item["id"] for item in second] == waiting[:2]
    assert [item["redelivered"] for item in second] == [True, True]


@pytest.mark.parametrize("limit", [1, 5])
def test_a_known_miner_that_holds_more_than_it_still_may_gets_no_more(client: Api, miner: Api, limit: int) -> None:
    me = known(miner, concurrency=3)
    held = [client.submit()["id"] for _ in range(3)]
    client.submit()
    assert [item["id"] for item in me.poll()] == held

    miner.register(concurrency=1)

    for _ in range(3):
        assert {item["id"] for item in me.poll(limit)} <= set(held)
    assert broken_laws() == {}


def test_what_a_known_miner_registers_anew_counts_at_once(client: Api, miner: Api) -> None:
    me = known(miner, concurrency=1)
    texts = client.submit(job_type="text_embedding")["id"]
    free = [client.submit()["id"] for _ in range(2)]

    miner.register(price="1")
    assert me.poll() == []
    miner.register(capabilities=["text_embedding"])
    assert [item["id"] for item in me.poll()] == [texts]
    miner.register(concurrency=2)
    assert [item["id"] for item in me.poll()] == free


def test_a_known_miner_that_may_not_poll_any_more_is_told_so(admin: Api, client: Api, miner: Api) -> None:
    me = known(miner)
    job_id = client.submit()["id"]

    assert me.as_(OTHER_MINER, me.miner_id).get("/v1/miner/jobs").error == "MINER_NOT_FOUND"
    admin.post(f"/v1/admin/miners/{me.miner_id}/disable")
    assert me.get("/v1/miner/jobs").status == 403
    admin.post(f"/v1/admin/miners/{me.miner_id}/enable")
    me.post("/v1/miner/deregister")
    assert me.get("/v1/miner/jobs").error == "MINER_NOT_FOUND"
    assert client.job(job_id)["status"] == "pending"


def test_a_known_miner_that_was_given_up_is_revived(client: Api, miner: Api) -> None:
    me = known(miner)
    change("UPDATE miners SET last_heartbeat_us = 1")
    job_id = client.submit()["id"]

    assert [item["id"] for item in me.poll()] == [job_id]
    assert me.get("/v1/miner/me").json["status"] == "active"


def test_a_lease_that_has_expired_is_given_to_a_known_miner_at_once(client: Api, miner: Api) -> None:
    me = known(miner)
    job_id = client.submit(priority=9)["id"]
    other = miner.as_(OTHER_MINER)
    other.register()
    assert [item["id"] for item in other.poll()] == [job_id]
    client.submit()
    change("UPDATE attempts SET lease_expires_us = 1")

    assert [(item["id"], item["attempt"]) for item in me.poll()] == [(job_id, 2)]
    assert broken_laws() == {}


def test_a_job_past_its_time_is_ended_and_not_given_to_a_known_miner(client: Api, miner: Api) -> None:
    me = known(miner)
    late, next_best = client.submit(priority=9)["id"], client.submit()["id"]
    change("UPDATE jobs SET expires_us = 1 WHERE id = :late", late=late)

    assert [item["id"] for item in me.poll()] == [next_best]
    assert client.job(late)["error"]["code"] == "EXPIRED"


def test_it_is_noted_when_a_known_miner_got_a_job(client: Api, miner: Api) -> None:
    me = known(miner)
    change("UPDATE miners SET last_assigned_us = 1")
    assert me.poll() == []
    [before] = execute("SELECT last_assigned_us FROM miners")

    client.submit()
    assert len(me.poll()) == 1

    [after] = execute("SELECT last_assigned_us, started_us FROM miners JOIN attempts ON miner_id = miners.id")
    assert before["last_assigned_us"] == 1
    assert after["last_assigned_us"] >= after["started_us"] - 1_000_000


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("concurrency", [1, 9])
def test_while_others_hold_the_best_jobs_a_known_miner_gets_the_next_best(
    client: Api, miner: Api, database_url: str, concurrency: int
) -> None:
    client.submit(priority=9, constraints={"cuda": "12"})
    me = miner.as_(MINER, miner.register(hardware={"gpus": [], "cuda": "12.4"}, concurrency=concurrency)["id"])
    me.answer(me.poll(1)[0])
    urgent = client.submit(priority=9, constraints={"cuda": "12"})["id"]
    plain = client.submit()["id"]
    engine = create_engine(database_url)
    try:
        with engine.connect() as other:
            other.execute(text("SELECT id FROM jobs WHERE id = :urgent FOR UPDATE"), {"urgent": urgent})

            taken = me.poll()
    finally:
        engine.dispose()

    assert [item["id"] for item in taken] == [plain]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("concurrency", [1, 9])
def test_while_others_hold_the_first_of_one_class_a_known_miner_gets_the_others(
    client: Api, miner: Api, database_url: str, concurrency: int
) -> None:
    me = known(miner, concurrency=concurrency)
    first, *others = [client.submit()["id"] for _ in range(3)]
    engine = create_engine(database_url)
    try:
        with engine.connect() as other:
            other.execute(text("SELECT id FROM jobs WHERE id = :first FOR UPDATE"), {"first": first})

            taken = me.poll()
    finally:
        engine.dispose()

    assert [item["id"] for item in taken] == others[:concurrency]


def poll_together(meet: Meet, number: int, owner_id: str, miner_id: str, limit: int) -> None:
    """One process asks for a miner while others do; the first submits jobs when all have found none."""
    from coordinator.core.database import database
    from coordinator.core.ids import new_id
    from coordinator.jobs import queue, service
    from coordinator.jobs.schemas import JobCreate

    job = JobCreate(job_type="llm_inference")
    for _ in range(ROUNDS):
        queue.claim(owner_id, miner_id, limit)
        meet()
        if number == 0:
            database().write(lambda tx: [service.submit(tx, new_id(), job) for _ in range(2 * LIMIT)])
        meet()
        queue.claim(owner_id, miner_id, limit)
        queue.claim(owner_id, miner_id, limit)
        meet()
        if number == 0:
            most = execute("SELECT count(*) AS held FROM attempts WHERE ended_us IS NULL")[0]["held"]
            assert most == LIMIT
            for table in ("attempts", "jobs"):
                change(f"DELETE FROM {table}")
        meet()


@pytest.mark.parametrize("limit", [1, 2, 50])
def test_eight_processes_that_poll_as_one_miner_get_no_more_than_it_may_hold(
    client: Api, miner: Api, database_url: str, limit: int
) -> None:
    from coordinator.users.keys import Role, authenticate

    client.submit()
    me = miner.as_(MINER, miner.register(concurrency=LIMIT)["id"])
    me.answer(me.poll()[0])
    owner_id = authenticate(MINER, Role.MINER).id
    variables = {"DATABASE_URL": database_url, "SECRET_KEY": SECRET_KEY}

    # Each of them fails at its own if it sees a law broken.
    together(
        *[(poll_together, (number, owner_id, me.miner_id, limit)) for number in range(PROCESSES)], variables=variables
    )


def work_off(meet: Meet, owner_id: str, miner_id: str) -> list[str]:
    """The jobs that one process has answered."""
    from coordinator.core.database import database
    from coordinator.jobs import queue, results
    from coordinator.jobs.errors import LeaseLost
    from coordinator.jobs.lease_schemas import ResultCreate

    meet()
    answered: list[str] = []
    while items := queue.claim(owner_id, miner_id, 1).items:
        for item in items:
            body = ResultCreate(job_id=item.id, lease_token=item.lease_token, result=42)
            try:
                outcome = database().write(lambda tx, body=body: results.answer(tx, owner_id, miner_id, body))  # type: ignore[misc]
            except LeaseLost:
                continue
            if not outcome.repeated:
                answered.append(item.id)
    return answered


def test_eight_processes_that_work_as_one_miner_do_each_job_once(client: Api, miner: Api, database_url: str) -> None:
    from coordinator.users.keys import Role, authenticate

    me = known(miner, concurrency=LIMIT)
    waiting = [client.submit()["id"] for _ in range(40)]
    owner_id = authenticate(MINER, Role.MINER).id
    variables = {"DATABASE_URL": database_url, "SECRET_KEY": SECRET_KEY}

    done = Counter(
        job_id
        for answered in together(*[(work_off, (owner_id, me.miner_id))] * PROCESSES, variables=variables)
        for job_id in answered
    )

    assert done == Counter(waiting)
    assert {row["attempts"] for row in execute("SELECT attempts FROM jobs")} == {1}
    assert broken_laws() == {}
