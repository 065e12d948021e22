"""PgQueuer, by the methods that its own workers and producers call."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import psycopg
import uvloop
from pgqueuer import AsyncpgDriver, Job, PgQueuer, Queries
from pgqueuer.ports.repository import EntrypointExecutionParameter

from tests.bench.filling import plain_url, settle_postgres
from tests.bench.processes import Meet
from tests.bench.rivals.phases import BATCH, CYCLES, ONE, PARAMETERS, TEN, WORKER, Share

_BULK = 1000
_ENTRYPOINT = "bench"
_PAYLOAD = json.dumps(PARAMETERS).encode()
_WHAT = {_ENTRYPOINT: EntrypointExecutionParameter(concurrency_limit=0)}
# PgQueuer's own default.
_HEARTBEAT = timedelta(seconds=30)


def install(url: str) -> None:
    async def apply() -> None:
        connection = await asyncpg.connect(plain_url(url))
        await Queries(AsyncpgDriver(connection)).install()
        await connection.close()

    uvloop.run(apply())


def fill(url: str, jobs: int) -> None:
    async def enqueue() -> None:
        connection = await asyncpg.connect(plain_url(url))
        queries = Queries(AsyncpgDriver(connection))
        await queries.clear_queue()
        await queries.clear_queue_log()
        for began in range(0, jobs, _BULK):
            several = min(_BULK, jobs - began)
            await queries.enqueue([_ENTRYPOINT] * several, [_PAYLOAD] * several, [0] * several)
        await connection.close()

    uvloop.run(enqueue())
    with psycopg.connect(plain_url(url), autocommit=True) as connection:
        settle_postgres(connection)


def _phase(work: Callable[[AsyncpgDriver, float], Awaitable[Share]]) -> Any:
    def phase(url: str, _number: int, seconds: float, meet: Meet) -> Share:
        async def run() -> Share:
            connection = await asyncpg.connect(plain_url(url))
            try:
                meet()
                return await work(AsyncpgDriver(connection), seconds)
            finally:
                await connection.close()

        return uvloop.run(run())

    return phase


def _claims(batch: int) -> Any:
    async def claim(driver: AsyncpgDriver, seconds: float) -> Share:
        dequeue = _dequeue(Queries(driver), batch)
        jobs, began = 0, time.time()
        while time.time() < began + seconds and (taken := await dequeue()):
            jobs += len(taken)
        return Share(jobs, began, time.time())

    return _phase(claim)


async def _cycle(driver: AsyncpgDriver, seconds: float) -> Share:
    queries = Queries(driver)
    dequeue = _dequeue(queries, 1)
    jobs, began = 0, time.time()
    while time.time() < began + seconds:
        await queries.enqueue(_ENTRYPOINT, _PAYLOAD)
        for job in await dequeue():
            await queries.log_jobs([(job, "successful", None)])
            jobs += 1
    return Share(jobs, began, time.time())


async def _work(driver: AsyncpgDriver, seconds: float) -> Share:
    worker = PgQueuer(driver)
    done: list[Job] = []

    @worker.entrypoint(_ENTRYPOINT)
    async def nothing(job: Job) -> None:
        done.append(job)

    began = time.time()
    running = asyncio.create_task(worker.qm.run(batch_size=BATCH))
    await asyncio.wait({running}, timeout=seconds)
    jobs, ended = len(done), time.time()
    worker.shutdown.set()
    await running
    return Share(jobs, began, ended)


def _dequeue(queries: Queries, batch: int) -> Callable[[], Awaitable[list[Job]]]:
    manager = uuid4()
    return lambda: queries.dequeue(batch, _WHAT, manager, None, _HEARTBEAT)  # type: ignore[arg-type]


PHASES = {ONE: _claims(1), TEN: _claims(BATCH), CYCLES: _phase(_cycle), WORKER: _phase(_work)}
