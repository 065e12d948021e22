"""Procrastinate, by the methods that its own workers and tasks call."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import uvloop
from procrastinate import App, PsycopgConnector
from procrastinate.jobs import Status

from tests.bench.filling import plain_url, settle_postgres
from tests.bench.processes import Meet
from tests.bench.rivals.phases import CYCLES, ONE, PARAMETERS, WORKER, Share

_BULK = 1000

logging.getLogger("procrastinate").setLevel(logging.ERROR)


def install(url: str) -> None:
    async def apply() -> None:
        app, _, _ = _app(url)
        async with app.open_async():
            await app.schema_manager.apply_schema_async()

    uvloop.run(apply())


def fill(url: str, jobs: int) -> None:
    async def defer() -> None:
        app, task, _ = _app(url)
        async with app.open_async():
            for began in range(0, jobs, _BULK):
                await task.batch_defer_async(*[PARAMETERS] * min(_BULK, jobs - began))

    with psycopg.connect(plain_url(url), autocommit=True) as connection:
        connection.execute("TRUNCATE procrastinate_jobs CASCADE")
        uvloop.run(defer())
        settle_postgres(connection)


def _app(url: str) -> tuple[App, Any, list[None]]:
    """The application, its one task, and as many entries as the task has run."""
    app = App(connector=PsycopgConnector(conninfo=plain_url(url), min_size=1, max_size=1))

    @app.task(name="nothing", queue="bench")
    async def nothing(**_parameters: Any) -> None:
        done.append(None)

    done: list[None] = []
    return app, nothing, done


def _phase(work: Callable[[App, Any, list[None], float], Awaitable[Share]]) -> Any:
    def phase(url: str, _number: int, seconds: float, meet: Meet) -> Share:
        async def run() -> Share:
            app, task, done = _app(url)
            async with app.open_async():
                await app.connector.execute_query_one_async("SELECT 1 AS ready")
                meet()
                return await work(app, task, done, seconds)

        return uvloop.run(run())

    return phase


async def _claim(app: App, _task: Any, _done: list[None], seconds: float) -> Share:
    worker_id = await app.job_manager.register_worker()
    jobs, began = 0, time.time()
    while time.time() < began + seconds and await app.job_manager.fetch_job(queues=["bench"], worker_id=worker_id):
        jobs += 1
    return Share(jobs, began, time.time())


async def _cycle(app: App, task: Any, _done: list[None], seconds: float) -> Share:
    worker_id = await app.job_manager.register_worker()
    jobs, began = 0, time.time()
    while time.time() < began + seconds:
        await task.defer_async(**PARAMETERS)
        if job := await app.job_manager.fetch_job(queues=["bench"], worker_id=worker_id):
            await app.job_manager.finish_job(job, Status.SUCCEEDED, delete_job=False)
            jobs += 1
    return Share(jobs, began, time.time())


async def _work(app: App, _task: Any, done: list[None], seconds: float) -> Share:
    began = time.time()
    worker = asyncio.create_task(
        app.run_worker_async(queues=["bench"], wait=False, listen_notify=False, install_signal_handlers=False)
    )
    await asyncio.wait({worker}, timeout=seconds)
    jobs, ended = len(done), time.time()
    worker.cancel()
    await asyncio.wait({worker})
    return Share(jobs, began, ended)


PHASES = {ONE: _phase(_claim), CYCLES: _phase(_cycle), WORKER: _phase(_work)}
