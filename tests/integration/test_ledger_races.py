"""Many processes at one balance: never overspent, and nobody waits for anybody who waits for him."""

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import event

from tests.api import CLIENT, OTHER_CLIENT, SECRET_KEY, Api, let_pass
from tests.bench.processes import Meet, together
from tests.databases import WAITING_FOR_A_LOCK
from tests.money import ALICE, BOB, balance, broken_laws, give, give_users, statement, user_of

PROCESSES = 8
TRIES = 12


def spend(meet: Meet, user_id: str) -> Counter[str]:
    """Submits jobs of price 1 together with the other processes; every second one is cancelled at once."""
    from coordinator.core.database import database
    from coordinator.core.errors import CoordinatorError
    from coordinator.core.ids import new_id
    from coordinator.jobs import service
    from coordinator.jobs.schemas import JobCreate

    client_id = new_id()
    body = JobCreate.model_validate({"job_type": "custom", "max_price": "1"})
    seen: Counter[str] = Counter()
    meet()
    for number in range(TRIES):
        try:
            job = database().write(lambda tx: service.submit(tx, client_id, body, user_id=user_id))
        except CoordinatorError as error:
            seen[error.code] += 1
            continue
        seen["held"] += 1
        if number % 2:
            database().write(lambda tx, job=job: service.cancel(tx, client_id, job.id))
            seen["given back"] += 1
    return seen


def test_eight_processes_never_overspend_one_balance(api: Api, database_url: str) -> None:
    alice = user_of(ALICE)
    give(api, alice, "20")

    variables = {"DATABASE_URL": database_url, "SECRET_KEY": SECRET_KEY}
    seen = sum(together(*[(spend, (alice,))] * PROCESSES, variables=variables), Counter())

    assert set(seen) <= {"held", "given back", "INSUFFICIENT_FUNDS"}, seen
    assert seen["held"] + seen["INSUFFICIENT_FUNDS"] == PROCESSES * TRIES
    held = seen["held"] - seen["given back"]
    assert balance(api, alice) == (str(20 - held), str(held))
    # At the end everybody has tried and failed, or there was enough for all.
    assert seen["INSUFFICIENT_FUNDS"] > 0
    assert broken_laws() == {}


def test_eight_processes_make_a_new_user_once(api: Api, database_url: str) -> None:
    variables = {"DATABASE_URL": database_url, "SECRET_KEY": SECRET_KEY}

    ids = together(*[(ensure, (BOB,))] * PROCESSES, variables=variables)

    assert set(ids) == {user_of(BOB)}


def ensure(meet: Meet, wallet: str) -> str:
    meet()
    return user_of(wallet)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_use_cases_that_end_many_jobs_lock_accounts_in_one_order(
    api: Api, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coordinator.core.database import Database
    from coordinator.jobs import lifecycle

    users = give_users(monkeypatch, {CLIENT: ALICE, OTHER_CLIENT: BOB})
    for user_id in users.values():
        give(api, user_id, "10")
    first, second, third, fourth = (
        api.as_(key).submit(max_price="1")["id"] for key in (CLIENT, OTHER_CLIENT, OTHER_CLIENT, CLIENT)
    )
    processes = [Database(database_url) for _ in range(2)]
    deadlocks: list[Any] = []
    for process in processes:
        event.listen(process.engine, "handle_error", deadlocks.append)
    meet = Barrier(2)

    def end(process: Database, job_ids: tuple[str, str]) -> None:
        def work(tx: Any) -> None:
            for job_id in job_ids:
                job = lifecycle.lock_job(tx, job_id)
                assert job is not None
                lifecycle.cancel_job(tx, job, "test")
                meet.wait(10)

        process.write(work)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(end, processes, [(first, second), (third, fourth)]))

    for process in processes:
        process.close()
    assert deadlocks == []
    assert [balance(api, user_id) for user_id in users.values()] == [("10", "0")] * 2


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_who_waits_for_a_balance_judges_it_as_it_then_is(api: Api, database_url: str) -> None:
    from coordinator.core.database import Database, database
    from coordinator.jobs import service
    from coordinator.jobs.schemas import JobCreate
    from coordinator.ledger.errors import InsufficientFunds
    from coordinator.ledger.operations import adjust
    from coordinator.ledger.schemas import Adjustment

    alice = user_of(ALICE)
    give(api, alice, "10")
    job = JobCreate.model_validate({"job_type": "custom", "max_price": "2"})
    operator = Database(database_url)

    with ThreadPoolExecutor(1) as pool:

        def take_while_a_job_is_submitted(tx: Any) -> Any:
            adjust(tx, alice, alice, Adjustment.model_validate({"amount": "-9", "reason": "test"}))
            submitting = pool.submit(database().write, lambda tx: service.submit(tx, alice, job, user_id=alice))
            while not tx.scalar(WAITING_FOR_A_LOCK):
                time.sleep(0.01)
            return submitting

        submitting = operator.write(take_while_a_job_is_submitted)
        with pytest.raises(InsufficientFunds):
            submitting.result()

    operator.close()
    assert balance(api, alice) == ("1", "0")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("overdue", [False, True])
def test_a_result_and_another_end_of_the_job_race_for_the_money(
    api: Api, client: Api, miner: Api, database_url: str, monkeypatch: pytest.MonkeyPatch, *, overdue: bool
) -> None:
    from coordinator.core.database import Database
    from coordinator.core.errors import CoordinatorError
    from coordinator.jobs import expiry, results, service
    from coordinator.jobs.lease_schemas import ResultCreate
    from coordinator.users.keys import Role, authenticate
    from tests.api import MINER

    alice = give_users(monkeypatch, {CLIENT: ALICE})[ALICE]
    bob = user_of(BOB)
    give(api, alice, "100")
    miner.register(BOB, price="1", concurrency=1)
    client_id, owner_id = authenticate(CLIENT, Role.CLIENT).id, authenticate(MINER, Role.MINER).id
    processes = [Database(database_url) for _ in range(2)]
    paid = 0
    refused: set[str] = set()
    with ThreadPoolExecutor(2) as pool:
        for _ in range(10):
            job_id = client.submit(max_price="2", ttl_seconds=50)["id"]
            body = ResultCreate(job_id=job_id, lease_token=miner.poll()[0]["lease_token"], result=42)
            if overdue:
                let_pass(60)
            calls: list[Callable[[Any], Any]] = [
                lambda tx, body=body: results.answer(tx, owner_id, None, body),
                (lambda tx, job_id=job_id: expiry.sweep(tx, service.clock.now_us(tx), 10))
                if overdue
                else (lambda tx, job_id=job_id: service.cancel(tx, client_id, job_id)),
            ]
            start = Barrier(2)

            def call(process: Database, work: Callable[[Any], Any], start: Barrier = start) -> None:
                start.wait()
                try:
                    process.write(work)
                except CoordinatorError as error:
                    refused.add(error.code)

            list(pool.map(call, processes, calls))
            paid += client.job(job_id)["status"] == "completed"

    for process in processes:
        process.close()
    assert refused <= {"JOB_FINISHED", "JOB_CANCELLED", "LEASE_LOST"}
    assert balance(api, alice) == (str(100 - paid), "0")
    assert balance(api, bob) == (str(paid), "0")
    assert Counter(kind for kind, _ in statement(api, alice)) == Counter(
        {"adjustment": 1, "hold": 10, "release": 10, "settlement": paid}
    )
    assert broken_laws() == {}
