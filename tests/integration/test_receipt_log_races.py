"""Many processes at one log, and processes that die at any point: no gap, nothing twice, nothing lost, one history."""

import multiprocessing
import random
import time
from typing import Any

import pytest
from sqlalchemy import Connection, event

from aitbc_verify.checkpoints import verified_checkpoint
from tests.api import SECRET_KEY, Api
from tests.bench.processes import Meet, together
from tests.databases import WAITING_FOR_A_LOCK
from tests.integration.logged import (
    checkpoint,
    entries,
    included,
    issue,
    issued,
    jwks,
    kept_notes,
    require_growth,
    waiting,
)

PROCESSES = 4
RECEIPTS = 40
KILLS = 6


def let_it_grow(meet: Meet, number: int) -> tuple[list[str], list[str]]:
    """Issues receipts, takes in what waits and signs, all at once with the others; gives its receipts and notes."""
    from coordinator.core.database import database
    from coordinator.receipts import checkpoints, log

    draw = random.Random(number)
    ids: list[str] = []
    notes = []
    meet()
    for _ in range(RECEIPTS):
        ids += issued(draw.randrange(3))
        taken = draw.randrange(4)
        database().write(lambda tx, taken=taken: log.take_in(tx, taken))
        notes.append(checkpoints.newest().note)
    return ids, notes


def require_sound(api: Api, ids: list[str], notes: list[str]) -> None:
    """Requires that these receipts are the log, once each, and that it has only grown over all these checkpoints."""
    now = checkpoint(api)
    places = entries()
    assert [index for index, _ in places] == list(range(len(ids)))
    assert sorted(receipt_id for _, receipt_id in places) == sorted(ids)
    assert waiting() == set()
    signed = sorted({verified_checkpoint(note, jwks(api)) for note in notes}, key=lambda one: one.size)
    assert len({one.size for one in signed}) == len(signed)
    for older, newer in zip(signed, [*signed[1:], now], strict=True):
        require_growth(api, older, newer)
    for receipt_id in random.Random(0).sample(ids, 10):
        included(api, receipt_id)


def test_processes_at_once_make_one_log(api: Api, database_url: str) -> None:
    variables = {"DATABASE_URL": database_url, "SECRET_KEY": SECRET_KEY}

    seen = together(*[(let_it_grow, (number,)) for number in range(PROCESSES)], variables=variables)

    ids = [receipt_id for own, _ in seen for receipt_id in own]
    notes = [note for _, own in seen for note in own]
    require_sound(api, ids, notes)
    # What was shown is what was kept.
    assert set(notes) <= set(kept_notes())


def grow_until_killed(url: str, told: Any) -> None:
    import os

    os.environ |= {"DATABASE_URL": url, "SECRET_KEY": SECRET_KEY, "POWERTOOLS_LOG_LEVEL": "WARNING"}
    from coordinator.core.database import database
    from coordinator.receipts import checkpoints, log

    while True:
        database().write(lambda tx: log.take_in(tx, 3))
        told.send(checkpoints.newest().note)


def test_a_process_that_is_killed_leaves_a_sound_log(api: Api, database_url: str) -> None:
    draw = random.Random(1)
    context = multiprocessing.get_context("spawn")
    ids: list[str] = []
    notes = []
    for _ in range(KILLS):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=grow_until_killed, args=(database_url, theirs))
        process.start()
        theirs.close()
        # It has begun to work when it tells of its first checkpoint.
        notes.append(ours.recv())
        ids += issued(30)
        time.sleep(draw.uniform(0, 0.05))
        process.kill()
        process.join()
        try:
            while True:
                notes.append(ours.recv())
        except (EOFError, OSError):
            ours.close()

    require_sound(api, ids, notes)


class Killed(Exception):
    pass


def test_an_end_at_any_statement_leaves_a_sound_log(api: Api) -> None:
    from coordinator.core.database import database
    from receipts.growth import handler

    ids: list[str] = []
    left = 0

    def die(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed

    handler({}, None)
    survived = False
    for point in range(1, 100):
        ids += issued(3)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("receipts.growth.BATCH", 2)
            engine = database().engine
            left = point
            listeners = [(engine, "before_cursor_execute"), (engine, "commit")]
            for target, name in listeners:
                event.listen(target, name, die)
            try:
                handler({}, None)
                survived = left > 0
            except Killed:
                pass
            finally:
                for target, name in listeners:
                    event.remove(target, name, die)
        assert {receipt_id for _, receipt_id in entries()} | waiting() == set(ids)
        assert {receipt_id for _, receipt_id in entries()} & waiting() == set()
        if survived:
            break

    assert survived
    require_sound(api, ids, kept_notes())


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_an_older_receipt_that_is_committed_while_newer_ones_are_taken_in_is_not_lost(
    api: Api, database_url: str
) -> None:
    from coordinator.core.database import Database

    other = Database(database_url)
    newer: list[str] = []

    def commit_late(tx: Connection) -> str:
        older = issue(tx)
        newer.extend(issued(2))
        assert checkpoint(api).size == 2
        return older

    older = other.write(commit_late)

    other.close()
    assert older < min(newer)
    assert checkpoint(api).size == 3
    assert entries() == list(enumerate([*newer, older]))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_results_do_not_wait_for_the_log(api: Api, database_url: str) -> None:
    from coordinator.core.database import Database
    from coordinator.receipts import log

    issued(2)
    other = Database(database_url)

    def take_in_slowly(tx: Connection) -> int:
        log.take_in(tx, 10)
        issued(2)
        return int(tx.scalar(WAITING_FOR_A_LOCK) or 0)

    assert other.write(take_in_slowly) == 0
    other.close()
    assert checkpoint(api).size == 4
