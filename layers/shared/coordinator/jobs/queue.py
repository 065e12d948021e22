"""The queue: which job a miner gets next, and the guarantee that no other miner gets it too."""

import json
import random
import secrets
import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Connection, Row, bindparam, func, insert, select, text, update

from coordinator.core import clock
from coordinator.core.config import settings
from coordinator.core.money import format_aitbc
from coordinator.core.prepared import Prepared
from coordinator.jobs.classes import NEWEST_CLASS, eligible_classes
from coordinator.jobs.expiry import anything_overdue, expire_locked, sweep
from coordinator.jobs.lifecycle import attempts, jobs
from coordinator.jobs.models import HELD
from coordinator.jobs.schemas import HIGHEST_PRIORITY, Assignment, PollRead
from coordinator.miners import service as miners_service
from coordinator.miners.models import IS_ACTIVE
from coordinator.miners.service import miners

_SWEEP_LIMIT = 20

# Nothing of a caller is ever put into these texts; what varies is bound.
# ruff: noqa: S608
_ORDER = "{0}.priority DESC, {0}.max_price_atoms DESC, {0}.id".format
_WAITING = "h.status = 'pending' AND h.class_number = c.number"
_PRIORITIES = " UNION ALL ".join(f"SELECT {number} AS priority" for number in range(HIGHEST_PRIORITY + 1))
# The first job of a class costs one look into the index `jobs_queue`, however many jobs wait behind it. If it pays too
# little, one look for each priority finds the first that pays enough.
_FIRST = f"""
coalesce(
    (
        SELECT f.id FROM (
            SELECT h.id, h.max_price_atoms FROM jobs AS h WHERE {_WAITING} ORDER BY {_ORDER("h")} LIMIT 1
        ) AS f
        WHERE f.max_price_atoms >= :price
    ),
    (
        SELECT f.id FROM ({_PRIORITIES}) AS p
        JOIN jobs AS f ON f.id = (
            SELECT h.id FROM jobs AS h
            WHERE {_WAITING} AND h.priority = p.priority AND h.max_price_atoms >= :price
            ORDER BY {_ORDER("h")} LIMIT 1
        )
        WHERE :price > 0
        ORDER BY {_ORDER("f")} LIMIT 1
    )
)
"""
_CLASSES = {
    "sqlite": "(SELECT value AS number FROM json_each(:classes)) AS c",
    "postgresql": "unnest(CAST(:classes AS bigint[])) AS c(number)",
}


def _in_order(dialect: str, columns: str, limit: str) -> str:
    """The classes by their first jobs `j`."""
    return f"""
    SELECT {columns} FROM {_CLASSES[dialect]} JOIN jobs AS j ON j.id = {_FIRST} ORDER BY {_ORDER("j")} LIMIT {limit}
    """


# The count and the time are this statement's own: what was read with the miner may be older than the lock on it, and a
# lease that ended after the poll began must have ended before this one begins.
_TAKE = """
UPDATE jobs
SET status = 'running', attempts = attempts + 1, miner_id = :miner_id, started_us = {now}, updated_us = {now}
WHERE id = ({job})
    AND (SELECT count(*) FROM attempts WHERE outcome IS NULL AND attempts.miner_id = :miner_id) < :concurrency
RETURNING id, job_type, parameters, constraints, attempts, max_attempts, timeout_seconds, expires_us, started_us,
    max_price_atoms, payer_id, holds
"""
_TAKE_SQLITE = Prepared(text(_TAKE.format(job=_in_order("sqlite", "j.id", "1"), now=clock.NOW_US_SQL["sqlite"])))
_LEASE = Prepared(insert(attempts))
# Only the job that is taken gets locked: its class is found first, then the class's first job that nobody else holds.
_TAKE_POSTGRES = _TAKE.format(
    job=f"""
    SELECT h.id FROM jobs AS h
    WHERE h.status = 'pending' AND h.class_number = (SELECT class_number FROM best)
        AND h.priority <= (SELECT priority FROM best) AND h.max_price_atoms >= :price
    ORDER BY {_ORDER("h")} LIMIT 1 FOR UPDATE SKIP LOCKED
    """,
    now=clock.NOW_US_SQL["postgresql"],
)
# One round trip instead of two; SQLite has no writes in WITH, and no round trips. Of a class whose jobs are all held by
# others there is a row with its number alone.
_TAKE_AND_LEASE_POSTGRES = Prepared(
    text(f"""
    WITH best AS (
        {_in_order("postgresql", "j.class_number, j.priority", "1")}
    ), taken AS (
        {_TAKE_POSTGRES}
    ), leased AS (
        INSERT INTO attempts (job_id, attempt, miner_id, lease_token, started_us, lease_expires_us, deadline_us,
            progress_percent)
        SELECT id, attempts, :miner_id, :lease_token, started_us, least(started_us + :lease_us, deadline_us),
            deadline_us, 0
        FROM (SELECT *, started_us + CAST(timeout_seconds AS bigint) * {clock.SECOND_US} AS deadline_us FROM taken) AS t
        WHERE expires_us > started_us
    )
    SELECT best.class_number, taken.* FROM best LEFT JOIN taken ON true
    """)
)
# Hops from class to class in the index `jobs_queue`, however many jobs wait in each.
_WAITING_CLASSES = text("""
WITH RECURSIVE found(number) AS (
    SELECT min(class_number) FROM jobs WHERE status = 'pending'
    UNION ALL
    SELECT (SELECT min(j.class_number) FROM jobs AS j WHERE j.status = 'pending' AND j.class_number > found.number)
    FROM found WHERE found.number IS NOT NULL
)
SELECT number FROM found WHERE number IS NOT NULL
""")
_RANK = {dialect: text(_in_order(dialect, "j.class_number", ":most")) for dialect in _CLASSES}
# Up to so many classes are looked at in each claim.
_FEW_CLASSES = 64
_RANKED_CLASSES = 1024
# Of more classes those that have jobs are put in order now and then, and this part of the time goes into that.
_RANKING_SHARE = 0.05
_LONGEST_RANKING_KEPT_SECONDS = 1.0
_MAX_RANKINGS = 1000
_TAKEN_BACK = {"attempts": jobs.c.attempts - 1, "miner_id": None, "started_us": None}
# So many jobs past their time are cleared away by one poll at the most, before it finds one that is not.
_MAX_OVERDUE = 50

# All that a poll must know before it decides, read with the miner in one statement.
_POLLING = miners_service.Lookup(
    miners.c.status,
    miners.c.price_atoms,
    miners.c.concurrency,
    miners.c.profile_sha256,
    miners.c.last_assigned_us,
    select(func.count())
    .select_from(attempts)
    .where(text(HELD), attempts.c.miner_id == miners.c.id)
    .scalar_subquery()
    .label("held"),
    anything_overdue(
        clock.PRESENT.c.now_us, clock.PRESENT.c.now_us - bindparam("heartbeat_timeout_us", type_=BigInteger)
    ).label("overdue"),
    NEWEST_CLASS.label("newest_class"),
    lock=True,
)
_NOTE_ASSIGNED = update(miners).where(miners.c.id == bindparam("this_miner")).values(last_assigned_us=bindparam("now"))
# Idleness need not be known more exactly, and a busy miner's row is spared a write with every job.
_ASSIGNED_KNOWN_US = clock.SECOND_US

_SOONEST_SECONDS = 0.1
_HOLDING_ALL_SECONDS = 1.0
_FIRST_IDLE_SECONDS = 0.2
_LONGEST_SECONDS = 5.0
# The wait grows to this part of the time for which the miner got nothing.
_IDLENESS_SHARE = 0.25
_ACTIVE_MINERS_KEPT_SECONDS = 5


def poll(tx: Connection, owner_id: str, miner_id: str | None, limit: int) -> PollRead:
    """Leases the next jobs to a miner, as many as it may still hold and asked for.

    A miner that holds all it may is handed what it holds once more: it may have lost the answer.
    """
    miner = _polling(tx, owner_id, miner_id)
    if miner.overdue:
        sweep(tx, miner.now_us, _SWEEP_LIMIT)
        # This miner may have been one of the silent.
        miner = _polling(tx, owner_id, miner.id)
    now = miner.now_us
    if miner.status != miners_service.ACTIVE:
        miners_service.revive(tx, miner.id, now)
    if miner.held >= miner.concurrency:
        return PollRead(items=_redelivered(tx, miner, limit, now), poll_after_seconds=_HOLDING_ALL_SECONDS)
    eligible = eligible_classes(tx, miner.profile_sha256, miner.newest_class)
    classes = list(eligible) if len(eligible) <= _FEW_CLASSES else _ranked(tx, miner, eligible)
    items, more_waits = _claim(tx, miner, classes, min(limit, miner.concurrency - miner.held))
    if items and now - miner.last_assigned_us > _ASSIGNED_KNOWN_US:
        tx.execute(_NOTE_ASSIGNED, {"this_miner": miner.id, "now": now})
    return PollRead(items=items, poll_after_seconds=_poll_after_seconds(tx, miner, now, more_waits=more_waits))


def _polling(tx: Connection, owner_id: str, miner_id: str | None) -> Row[Any]:
    heartbeat_timeout_us = settings().heartbeat_timeout_seconds * clock.SECOND_US
    return miners_service.acting(tx, owner_id, miner_id, lookup=_POLLING, heartbeat_timeout_us=heartbeat_timeout_us)


def _claim(tx: Connection, miner: Row[Any], classes: list[int], count: int) -> tuple[list[Assignment], bool]:
    """Leases up to so many jobs, the best of these classes; tells too whether more may wait.

    Classes that have no job left are taken off the list.
    """
    items: list[Assignment] = []
    overdue = 0
    taken_by_others = False
    while classes and len(items) < count and overdue < _MAX_OVERDUE:
        lease_token = secrets.token_hex(16)
        job = _take(tx, miner, classes[:_FEW_CLASSES], lease_token)
        if job is None:
            del classes[:_FEW_CLASSES]
        elif job.id is None:
            classes.remove(job.class_number)
            taken_by_others = True
        elif job.expires_us <= job.started_us:
            overdue += 1
            tx.execute(update(jobs).where(jobs.c.id == job.id).values(_TAKEN_BACK))
            expire_locked(tx, job, job.started_us)
        else:
            lease_expires_us, _ = _lease_ends(job)
            items.append(_assignment(miner, job, job.attempts, lease_token, lease_expires_us, job.started_us))
    return items, bool(items) or taken_by_others or overdue == _MAX_OVERDUE


def _take(tx: Connection, miner: Row[Any], classes: list[int], lease_token: str) -> Any:
    """Takes the best job and leases it, unless it is past its time: then the caller must end it."""
    wanted = {"price": miner.price_atoms, "miner_id": miner.id, "concurrency": miner.concurrency}
    if tx.dialect.name == "postgresql":
        lease_us = settings().lease_seconds * clock.SECOND_US
        lease = {"lease_token": lease_token, "lease_us": lease_us}
        return _TAKE_AND_LEASE_POSTGRES.first(tx, {**wanted, "classes": classes, **lease})
    job = _TAKE_SQLITE.first(tx, {**wanted, "classes": json.dumps(classes)})
    if job is not None and job.expires_us > job.started_us:
        lease_expires_us, deadline_us = _lease_ends(job)
        lease = {
            "job_id": job.id,
            "attempt": job.attempts,
            "miner_id": miner.id,
            "lease_token": lease_token,
            "started_us": job.started_us,
            "lease_expires_us": lease_expires_us,
            "deadline_us": deadline_us,
            "progress_percent": 0.0,
        }
        _LEASE.later(tx, lease)
    return job


@dataclass
class _Ranking:
    """Of many classes those with the best jobs, as they were when this process last looked at all of them."""

    classes: list[int]
    until: float


_rankings: dict[tuple[str, int], _Ranking] = {}


def _ranked(tx: Connection, miner: Row[Any], eligible: frozenset[int]) -> list[int]:
    """The classes that have jobs, the best first; looked for again the sooner the less time it takes."""
    key = (miner.profile_sha256, miner.price_atoms)
    known = _rankings.get(key)
    if known is None or time.monotonic() >= known.until:
        if len(_rankings) >= _MAX_RANKINGS:
            _rankings.clear()
        began = time.monotonic()
        classes = list(eligible.intersection(tx.scalars(_WAITING_CLASSES)))
        if len(classes) > _FEW_CLASSES:
            given = json.dumps(classes) if tx.dialect.name == "sqlite" else classes
            wanted = {"price": miner.price_atoms, "classes": given, "most": _RANKED_CLASSES}
            classes = list(tx.scalars(_RANK[tx.dialect.name], wanted))
        now = time.monotonic()
        kept_seconds = min((now - began) / _RANKING_SHARE, _LONGEST_RANKING_KEPT_SECONDS)
        known = _rankings[key] = _Ranking(classes, now + kept_seconds)
    return known.classes


def _lease_ends(job: Row[Any]) -> tuple[int, int]:
    """When the new lease of the job ends unless it is renewed, and when its attempt does."""
    deadline_us = job.started_us + job.timeout_seconds * clock.SECOND_US
    return min(job.started_us + settings().lease_seconds * clock.SECOND_US, deadline_us), deadline_us


def _redelivered(tx: Connection, miner: Row[Any], limit: int, now_us: int) -> list[Assignment]:
    held = (
        select(jobs, attempts.c.attempt, attempts.c.lease_token, attempts.c.lease_expires_us)
        .join(attempts, attempts.c.job_id == jobs.c.id)
        .where(attempts.c.miner_id == miner.id, text(HELD))
        .order_by(attempts.c.started_us, jobs.c.id)
        .limit(limit)
    )
    return [
        _assignment(miner, row, row.attempt, row.lease_token, row.lease_expires_us, now_us, redelivered=True)
        for row in tx.execute(held)
    ]


def _assignment(
    miner: Row[Any],
    job: Row[Any],
    attempt: int,
    lease_token: str,
    lease_expires_us: int,
    now_us: int,
    *,
    redelivered: bool = False,
) -> Assignment:
    return Assignment(
        id=job.id,
        job_type=job.job_type,
        parameters=json.loads(job.parameters),
        constraints=json.loads(job.constraints),
        attempt=attempt,
        lease_token=lease_token,
        lease_expires_in_seconds=clock.seconds_until(lease_expires_us, now_us),
        timeout_seconds=job.timeout_seconds,
        price=format_aitbc(miner.price_atoms),
        redelivered=redelivered,
    )


def _poll_after_seconds(tx: Connection, miner: Row[Any], now_us: int, *, more_waits: bool) -> float:
    """When to ask next: soon while there is work, later the longer there was none, spread over all miners."""
    if more_waits:
        return _SOONEST_SECONDS
    idle_seconds = (now_us - miner.last_assigned_us) / clock.SECOND_US
    wait: float = min(max(idle_seconds * _IDLENESS_SHARE, _FIRST_IDLE_SECONDS), _LONGEST_SECONDS)
    share = _active_miners(tx) / settings().idle_polls_per_second
    # Jitter only lengthens, so that the polls of all stay under their rate.
    return round(max(wait, share) * random.uniform(1.0, 1.25), 3)  # noqa: S311  (no secret hangs on it)


class _Counted:
    """How many active miners there were when this process last counted them."""

    active = 0
    until = 0.0


def _active_miners(tx: Connection) -> int:
    if time.monotonic() >= _Counted.until:
        count = select(func.count()).select_from(miners).where(text(IS_ACTIVE))
        _Counted.active = tx.scalar(count) or 0
        _Counted.until = time.monotonic() + _ACTIVE_MINERS_KEPT_SECONDS
    return _Counted.active
