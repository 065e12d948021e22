"""Our queue, by the use cases that the functions call."""

import time
from functools import cache
from itertools import count
from typing import Any

import psycopg

from coordinator.core import clock
from coordinator.core.database import database
from coordinator.core.ids import new_id
from coordinator.jobs import leases, queue, results, service
from coordinator.jobs.lease_schemas import Assignment, ResultCreate
from coordinator.jobs.schemas import JobCreate
from coordinator.miners.schemas import MinerRegister
from tests.bench import filling
from tests.bench.processes import Meet
from tests.bench.rivals.phases import BATCH, CYCLES, ONE, PARAMETERS, TEN, WORKER, Share

_JOB = {"job_type": "llm_inference", "parameters": PARAMETERS}
# Claimed and not answered, jobs pile up at their miners; so many miners take turns that none holds very many.
_MINERS = 50


def install(_url: str) -> None:
    """The tables are there already."""


def fill(url: str, jobs: int) -> None:
    now = clock.machine_now_us()
    kinds: list[tuple[str, dict[str, Any]]] = [("llm_inference", {})]
    [only] = filling.class_rows(kinds)
    with psycopg.connect(filling.plain_url(url), autocommit=True) as connection:
        connection.execute("TRUNCATE jobs, job_classes, attempts, receipts")
    filling.fill(url, {"job_classes": [only], "jobs": filling.job_rows(jobs, kinds, [only["number"]], now)})


def _claims(batch: int) -> Any:
    def claim(_url: str, number: int, seconds: float, meet: Meet) -> Share:
        poll = _polls(number)
        meet()
        jobs, began = 0, time.time()
        while time.time() < began + seconds and (items := poll(batch)):
            jobs += len(items)
        return Share(jobs, began, time.time())

    return claim


def _cycle(_url: str, number: int, seconds: float, meet: Meet) -> Share:
    client = new_id()
    poll = _polls(number)
    meet()
    jobs, began = 0, time.time()
    while time.time() < began + seconds:
        database().write(lambda tx: service.submit(tx, client, JobCreate.model_validate(_JOB))).read()
        for assignment in poll(1):
            poll.answer(assignment)
            jobs += 1
    return Share(jobs, began, time.time())


def _work(_url: str, number: int, seconds: float, meet: Meet) -> Share:
    poll = _polls(number)
    meet()
    jobs, began = 0, time.time()
    while time.time() < began + seconds and (items := poll(BATCH)):
        for assignment in items:
            poll.answer(assignment)
            jobs += 1
    return Share(jobs, began, time.time())


class _Polls:
    """The miners of one connection, asking in turn."""

    def __init__(self, number: int) -> None:
        self._owner = new_id()
        bodies = [
            MinerRegister(address=f"{number}-{each}", capabilities=["llm_inference"], concurrency=1000)
            for each in range(_MINERS)
        ]
        self._ids = database().write(lambda tx: [leases.register(tx, self._owner, body).miner.id for body in bodies])
        self._turn = count()
        self._asked = self._ids[0]
        # The first poll of each is matched with the classes of jobs, as once in a process's life.
        for _ in bodies:
            self(1)

    def __call__(self, limit: int) -> list[Assignment]:
        self._asked = self._ids[next(self._turn) % _MINERS]
        return queue.claim(self._owner, self._asked, limit).items

    def answer(self, job: Assignment) -> None:
        answer = ResultCreate(job_id=job.id, lease_token=job.lease_token, result="done")
        database().write(lambda tx: results.answer(tx, self._owner, self._asked, answer))


@cache
def _polls(number: int) -> _Polls:
    """Made once, as registering and the first polls take longer than what is measured."""
    return _Polls(number)


PHASES = {ONE: _claims(1), TEN: _claims(BATCH), CYCLES: _cycle, WORKER: _work}
