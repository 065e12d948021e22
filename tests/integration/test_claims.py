"""Which job a poll takes: the best that the miner may have, whatever else waits and whoever else asks."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from tests.api import CLIENT, Api
from tests.money import ALICE, give, give_users

_LARGE_GPU = {"gpus": [{"name": "A100", "memory_mb": 81_920}]}
# Priority, price and class of a job.
_JOB = st.tuples(st.sampled_from((0, 5, 9)), st.integers(0, 3), st.integers(1, 4))


def _submit(client: Api, *, max_price_atoms: int = 0, **job: Any) -> str:
    return str(client.submit(**job, max_price=f"{max_price_atoms / 10**8:.8f}")["id"])


@pytest.fixture
def rich_client(client: Api, monkeypatch: pytest.MonkeyPatch) -> Api:
    give(client, give_users(monkeypatch, {CLIENT: ALICE})[ALICE], "1")
    return client


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(waiting=st.lists(_JOB, min_size=1, max_size=12), price=st.integers(0, 3))
def test_jobs_come_by_priority_then_price_then_age_and_never_below_the_miners_price(
    rich_client: Api, miner: Api, waiting: list[tuple[int, int, int]], price: int
) -> None:
    _empty_the_queue()
    jobs = [
        (-prio, -pays, _submit(rich_client, priority=prio, constraints={"min_vram_gb": size}, max_price_atoms=pays))
        for prio, pays, size in waiting
    ]
    miner.register(hardware=_LARGE_GPU, price=f"{price / 10**8:.8f}", concurrency=100)

    taken = [item["id"] for item in miner.poll(100)]

    assert taken == [job_id for _, pays, job_id in sorted(jobs) if -pays >= price]


def _empty_the_queue() -> None:
    from coordinator.core.database import database

    database().write(lambda tx: [tx.execute(text(f"DELETE FROM {table}")) for table in ("attempts", "jobs")])


@pytest.mark.parametrize("few", [1, 3])
def test_of_many_classes_the_best_comes_first_and_all_come(
    client: Api, miner: Api, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    from coordinator.jobs import queue

    monkeypatch.setattr(queue, "_FEW_CLASSES", few)
    miner.register(hardware=_LARGE_GPU, concurrency=100)
    client.submit(job_type="training", priority=9)
    waiting = [client.submit(constraints={"min_vram_gb": size}, priority=size)["id"] for size in range(1, 10)]

    taken = [item["id"] for item in miner.poll(100)]

    assert taken[0] == waiting[-1]
    assert sorted(taken) == sorted(waiting)


def test_of_many_classes_those_that_come_to_have_jobs_are_found_in_time(
    client: Api, miner: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coordinator.jobs import queue

    monkeypatch.setattr(queue, "_FEW_CLASSES", 2)
    miner.register(hardware=_LARGE_GPU, concurrency=100)
    for size in range(1, 5):
        client.submit(constraints={"min_vram_gb": size})
    assert len(miner.poll(100)) == 4
    job_id = client.submit(constraints={"min_vram_gb": 9})["id"]

    for ranking in queue._rankings.values():
        ranking.until = 0.0

    assert [item["id"] for item in miner.poll(100)] == [job_id]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_while_others_hold_the_best_jobs_the_next_best_is_given(client: Api, miner: Api, database_url: str) -> None:
    urgent = [client.submit(priority=9, constraints={"cuda": "12"})["id"] for _ in range(2)]
    plain = client.submit(priority=5)["id"]
    miner.register(hardware={"gpus": [], "cuda": "12.4"}, concurrency=9)
    engine = create_engine(database_url)
    try:
        with engine.connect() as other:
            other.execute(text("SELECT id FROM jobs WHERE priority = 9 FOR UPDATE"))

            taken = miner.poll()
            after = miner.get("/v1/miner/jobs").json
    finally:
        engine.dispose()

    assert [item["id"] for item in taken] == [plain]
    # Nothing is left that is free, and yet there may be soon.
    assert (after["items"], after["poll_after_seconds"]) == ([], 0.1)
    assert [item["id"] for item in miner.poll()] == urgent
