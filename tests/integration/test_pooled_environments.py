"""Fifty execution environments behind a pooler that has twenty connections, also while servers are restarted."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Connection, NullPool, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from tests.api import CLIENT, MINER, SECRET_KEY, Answer, Api
from tests.bench.processes import Meet, alone, together
from tests.databases import SERVER_CONNECTIONS, PgBouncer, PostgresCluster
from tests.money import ALICE, BOB, balance, broken_laws, give, give_users, user_of

ENVIRONMENTS = 50
# Every two environments send the same ones.
KEYS_EACH = 4
JOBS = ENVIRONMENTS // 2 * KEYS_EACH

pytestmark = pytest.mark.parametrize("database_url", ["pgbouncer"], indirect=True)


class Told(NamedTuple):
    # The ids of the jobs, by the keys with which they were submitted.
    jobs: dict[str, str]
    # How often a call ended with a 5xx.
    failures: int


def environments() -> list[Told]:
    """What each was told; all are forked from one process that has all the code and no connection."""
    import client.app
    import miner.app

    handlers = {"client": client.app.handler, "miner": miner.app.handler}
    return together(*[(environment, (handlers, number)) for number in range(ENVIRONMENTS)], method="fork")


def environment(meet: Meet, handlers: dict[str, Any], number: int) -> Told:
    """Submits jobs with keys, and then does whatever is there to do."""
    insist(lambda: give_users(pytest.MonkeyPatch(), {CLIENT: ALICE}))
    caller = Caller()
    client, miner = (Api(key, handlers=handlers) for key in (CLIENT, MINER))
    place = f"https://{number}.example.org"
    terms = {"address": BOB, "endpoint": place, "capabilities": ["custom"], "concurrency": 2, "price": "1"}
    miner = miner.as_(MINER, caller.answered(lambda: miner.post("/v1/miner/register", terms)).json["id"])
    jobs = {}
    meet()
    for key in (f"{number // 2}-{place}" for place in range(KEYS_EACH)):
        jobs[key] = caller.answered(lambda key=key: submit(client, key)).json["id"]
    meet()
    while unfinished():
        for assignment in caller.answered(lambda: miner.get("/v1/miner/jobs?limit=2")).json["items"]:
            answer = caller.answered(lambda assignment=assignment: miner.answer(assignment))
            assert answer.status in (200, 201) or answer.error == "LEASE_LOST", answer.text
        time.sleep(0.05)
    return Told(jobs, caller.failures)


class Caller:
    def __init__(self) -> None:
        self.failures = 0

    def answered(self, call: Callable[[], Answer]) -> Answer:
        """Calls again for as long as it is not known what came of it."""
        while (answer := call()).status >= 500 or (answer.status == 409 and answer.error == "IDEMPOTENCY_IN_PROGRESS"):
            self.failures += answer.status >= 500
            time.sleep(0.1)
        return answer


def submit(client: Api, key: str) -> Answer:
    job = {"job_type": "custom", "max_price": "1"}
    return client.post("/v1/client/jobs", job, headers={"idempotency-key": key})


def insist(work: Callable[[], Any]) -> Any:
    while True:
        try:
            return work()
        except DBAPIError:
            time.sleep(0.1)


def unfinished() -> bool:
    from coordinator.core.database import database

    left = text("SELECT count(*) FROM jobs WHERE status IN ('pending', 'running')")
    return bool(insist(lambda: database().read(lambda tx: tx.scalar(left))))


class Observer:
    """Looks at the server itself."""

    def __init__(self, postgres: PostgresCluster, database_url: str) -> None:
        self._name = make_url(database_url).database
        url = make_url(database_url).update_query_dict({"host": str(postgres.folder), "port": "5432"})
        self._engine = create_engine(url.set(database="postgres"), poolclass=NullPool)
        self._inside = create_engine(url, poolclass=NullPool)
        self.connections: set[int] = set()

    def rows(self, table: str) -> int:
        return int(self._ask(self._inside, lambda tx: tx.scalar(text(f"SELECT count(*) FROM {table}"))))

    def look(self) -> None:
        count = text("SELECT count(*) FROM pg_stat_activity WHERE datname = :name AND pid <> pg_backend_pid()")
        self.connections.add(self._ask(self._engine, lambda tx: tx.scalar(count, {"name": self._name})))

    def _ask(self, engine: Any, question: Callable[[Connection], Any]) -> Any:
        with engine.connect() as connection:
            return question(connection)


@contextmanager
def under_load(variables: dict[str, str]) -> Iterator["Future[list[Told]]"]:
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(alone, environments, variables=variables)


@pytest.mark.parametrize("all_goes_well", [True, False])
def test_nothing_is_lost_or_done_twice(
    api: Api, database_url: str, postgres: PostgresCluster, pgbouncer: PgBouncer, all_goes_well: bool
) -> None:
    alice, bob = user_of(ALICE), user_of(BOB)
    give(api, alice, "1000")
    observer = Observer(postgres, database_url)
    variables = {
        "DATABASE_URL": database_url,
        "SECRET_KEY": SECRET_KEY,
        "LEASE_SECONDS": "2",
        **{f"RATE_LIMIT_{group}": "0" for group in ("CLIENT", "MINER", "USER")},
    }

    with under_load(variables) as running:
        for table in ("jobs", "receipts"):
            for share, restart in ((1 / 4, pgbouncer.restart), (1 / 2, lambda: postgres.restart("immediate"))):
                while observer.rows(table) < share * JOBS and not running.done():
                    observer.look()
                if not all_goes_well:
                    restart()
        while not running.done():
            observer.look()

    told = running.result()
    jobs = {pair for environment in told for pair in environment.jobs.items()}
    assert len(jobs) == len({job_id for _, job_id in jobs}) == JOBS
    assert [observer.rows(table) for table in ("jobs WHERE status = 'completed'", "jobs", "receipts")] == [JOBS] * 3
    assert observer.rows("attempts WHERE outcome = 'completed'") == JOBS
    assert (balance(api, alice), balance(api, bob)) == ((str(1000 - JOBS), "0"), (str(JOBS), "0"))
    assert broken_laws() == {}
    assert max(observer.connections) <= SERVER_CONNECTIONS
    assert (sum(environment.failures for environment in told) == 0) == all_goes_well
