"""Operators step in while miners poll and answer: whoever comes first, the laws of the queue hold."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import Connection, text

from coordinator.core.errors import CoordinatorError
from tests.api import ADMIN, MINER, OTHER_MINER, Api
from tests.databases import WAITING_FOR_A_LOCK
from tests.integration.test_queue_model import LAWS

ROUNDS = 12


def test_requeue_and_disable_race_with_the_result_and_the_next_poll(
    admin: Api, client: Api, miner: Api, database_url: str
) -> None:
    from coordinator.core.database import Database, database
    from coordinator.jobs import operations, queue, results
    from coordinator.jobs.lease_schemas import ResultCreate
    from coordinator.users.keys import Role, authenticate

    owner_id, other_id, admin_id = (
        authenticate(key, role).id
        for key, role in ((MINER, Role.MINER), (OTHER_MINER, Role.MINER), (ADMIN, Role.ADMIN))
    )
    processes = [Database(database_url) for _ in range(4)]
    accepted = 0
    with ThreadPoolExecutor(len(processes)) as pool:
        for number in range(ROUNDS):
            job_id = client.submit(max_attempts=2)["id"]
            me = miner.register(f"ait1-{number}")["id"]
            other = miner.as_(OTHER_MINER).register(f"ait1-{number}")["id"]
            assignment = miner.as_(MINER, me).poll()[0]
            body = ResultCreate(job_id=assignment["id"], lease_token=assignment["lease_token"], result=42)
            calls: list[Callable[[Connection], Any]] = [
                lambda tx, me=me, body=body: results.answer(tx, owner_id, me, body),
                lambda tx, job_id=job_id: operations.requeue(tx, admin_id, job_id),
                lambda tx, me=me: operations.disable_miner(tx, admin_id, me),
                lambda tx, other=other: queue.poll(tx, other_id, other, 1),
            ]
            start = Barrier(len(calls))

            def call(process: Database, work: Callable[[Connection], Any], start: Barrier = start) -> str | None:
                start.wait()
                try:
                    process.write(work)
                except CoordinatorError as error:
                    return error.code
                return None

            result, requeued, disabled, polled = pool.map(call, processes, calls)

            assert result in (None, "LEASE_LOST", "FORBIDDEN")
            assert requeued is None or (requeued, result) == ("JOB_FINISHED", None)
            assert (disabled, polled) == (None, None)
            broken = {law: database().read(lambda tx, s=s: tx.execute(text(s)).all()) for law, s in LAWS.items()}
            assert not any(broken.values()), broken
            job = client.job(job_id)
            assert (job["status"] == "completed") is (result is None)
            if result is None:
                accepted += 1
                assert admin.post(f"/v1/admin/jobs/{job_id}/requeue").error == "JOB_FINISHED"
            else:
                # Out of the way of the next round.
                client.post(f"/v1/client/jobs/{job_id}/cancel")
    for process in processes:
        process.close()
    assert len(admin.get("/v1/admin/receipts").json["items"]) == accepted


@pytest.mark.parametrize("known", [False, True], ids=["new", "known"])
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_poll_that_waited_for_its_miner_to_be_disabled_gets_nothing(
    client: Api, miner: Api, database_url: str, known: bool
) -> None:
    from coordinator.core.database import Database
    from coordinator.jobs import operations, queue
    from coordinator.miners.errors import MinerDisabled
    from coordinator.users.keys import Role, authenticate

    me = miner.register()["id"]
    if known:
        # Then it claims in one trip.
        assert miner.as_(MINER, me).poll() == []
    job_id = client.submit()["id"]
    owner_id, admin_id = authenticate(MINER, Role.MINER).id, authenticate(ADMIN, Role.ADMIN).id
    other_process = Database(database_url)

    with ThreadPoolExecutor(1) as pool:

        def disable_while_it_polls(tx: Connection) -> Future[Any]:
            operations.disable_miner(tx, admin_id, me)
            polling = pool.submit(queue.claim, owner_id, me, 1)
            while not tx.scalar(WAITING_FOR_A_LOCK):
                time.sleep(0.01)
            return polling

        polling = other_process.write(disable_while_it_polls)
        with pytest.raises(MinerDisabled):
            polling.result()

    other_process.close()
    assert client.job(job_id)["status"] == "pending"
