"""Requests with an Idempotency-Key, also from processes that send the same one at once, or die while they do."""

import os
import signal
from collections.abc import Callable
from typing import Any

from sqlalchemy import event, text

from tests.api import CLIENT, Answer, Api

JOBS = "/v1/client/jobs"
HOUR_SECONDS = 3600


def submit(client: Api, key: str) -> Answer:
    return client.post(JOBS, {"job_type": "custom"}, headers={"idempotency-key": key})


def is_replay(answer: Answer) -> bool:
    return answer.headers.get("idempotency-replayed") == "true"


def count(table: str) -> int:
    from coordinator.core.database import database

    return int(database().read(lambda tx: tx.scalar(text(f"SELECT count(*) FROM {table}")) or 0))


def sweep() -> int:
    """Runs the schedule and tells how many answers it has forgotten."""
    from miner.heartbeats import handler

    return int(handler({}, None)["forgotten_answers"])


def submit_each(meet: Callable[[], object], keys: list[str]) -> list[Answer]:
    """Submits the same job with each key, each time together with the other processes."""
    client = new_client()
    answers = []
    for key in keys:
        meet()
        answers.append(submit(client, key))
    return answers


def submit_and_die(moment: str, key: str) -> None:
    """Submits a job and is killed before or after its commit."""
    from coordinator.core.database import database

    client = new_client()
    if moment == "before":
        event.listen(database().engine, "commit", _die)
    else:
        _die_after(database())
    submit(client, key)


def new_client() -> Api:
    """In a new process; it has called already, so that all it needs is there."""
    import client.app

    api = Api(CLIENT, handlers={"client": client.app.handler})
    assert api.get(JOBS).status == 200
    return api


def _die_after(database: Any) -> None:
    write = database.write

    def write_and_die(work: Any) -> None:
        write(work)
        _die()

    database.write = write_and_die


def _die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
