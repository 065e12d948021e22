"""The queue: which job a miner gets next, and the guarantee that no other miner gets it too."""

import json
import random
import secrets
import time
from typing import Any

from sqlalchemy import BigInteger, Connection, Row, bindparam, func, insert, select, text, update

from coordinator.core import clock
from coordinator.core.config import settings
from coordinator.core.money import format_aitbc
from coordinator.jobs.classes import NEWEST_CLASS, eligible_classes
from coordinator.jobs.expiry import anything_overdue, expire_locked, sweep
from coordinator.jobs.lifecycle import attempts, jobs
from coordinator.jobs.models import LIVE
from coordinator.jobs.schemas import Assignment, PollRead
from coordinator.miners import service as miners_service
from coordinator.miners.models import IS_ACTIVE
from coordinator.miners.service import miners

_SWEEP_LIMIT = 20

# Nothing of a caller is ever put into these texts; what varies is bound.
# ruff: noqa: S608
_ORDER = "ORDER BY {0}.priority DESC, {0}.max_price_atoms DESC, {0}.id LIMIT 1"
_PENDING = "{0}.status = 'pending' AND {0}.max_price_atoms >= :price"
# The first job of each class costs one look into the index `jobs_queue`, however many jobs wait behind it.
_FIRST = f"SELECT {{columns}} FROM jobs AS h WHERE h.class_id = c.{{id}} AND {_PENDING} {_ORDER}".format
# The count and the time are this statement's own: what was read with the miner may be older than the lock on it, and a
# lease that ended after the poll began must have ended before this one begins.
_TAKE = """
UPDATE jobs
SET status = 'running', attempts = attempts + 1, miner_id = :miner_id, started_us = {now}, updated_us = {now}
WHERE status = 'pending' AND id = ({head})
    AND (SELECT count(*) FROM attempts WHERE ended_us IS NULL AND attempts.miner_id = :miner_id) < :concurrency
RETURNING id, job_type, parameters, constraints, attempts, max_attempts, timeout_seconds, expires_us, started_us
"""
_TAKE_SQLITE = text(
    _TAKE.format(
        head=f"""
        SELECT j.id FROM json_each(:classes) AS c
        JOIN jobs AS j ON j.id = ({_FIRST("h", columns="h.id", id="value")})
        {_ORDER.format("j")}
        """,
        now=clock.NOW_US_SQL["sqlite"],
    )
)
_LEASE = insert(attempts)
# Only the job that is taken gets locked: first the best class is found, then its first job that nobody holds.
_TAKE_POSTGRES = _TAKE.format(
    head=f"""
    SELECT f.id FROM jobs AS f
    WHERE {_PENDING.format("f")} AND f.class_id = (
        SELECT j.class_id FROM unnest(CAST(:classes AS text[])) AS c(id)
        CROSS JOIN LATERAL ({_FIRST("h", columns="h.*", id="id")}) AS j
        {_ORDER.format("j")}
    )
    {_ORDER.format("f")} FOR UPDATE SKIP LOCKED
    """,
    now=clock.NOW_US_SQL["postgresql"],
)
# One round trip instead of two; SQLite has no writes in WITH, and no round trips.
_TAKE_AND_LEASE_POSTGRES = text(
    f"""
    WITH taken AS ({_TAKE_POSTGRES}), leased AS (
        INSERT INTO attempts (job_id, attempt, miner_id, lease_token, started_us, lease_expires_us, deadline_us,
            progress_percent)
        SELECT id, attempts, :miner_id, :lease_token, started_us, least(started_us + :lease_us, deadline_us),
            deadline_us, 0
        FROM (SELECT *, started_us + CAST(timeout_seconds AS bigint) * {clock.SECOND_US} AS deadline_us FROM taken) AS t
        WHERE expires_us > started_us
    )
    SELECT * FROM taken
    """
)
# Hops from class to class in the index `jobs_queue`, however many jobs wait in each.
_PENDING_CLASSES = text("""
WITH RECURSIVE found(class_id) AS (
    SELECT min(class_id) FROM jobs WHERE status = 'pending'
    UNION ALL
    SELECT (SELECT min(j.class_id) FROM jobs AS j WHERE j.status = 'pending' AND j.class_id > found.class_id)
    FROM found WHERE found.class_id IS NOT NULL
)
SELECT class_id FROM found WHERE class_id IS NOT NULL
""")
# With more classes than this that a miner could serve, it pays to ask first which of them have jobs at all.
_MANY_CLASSES = 500
_TAKEN_BACK = {"attempts": jobs.c.attempts - 1, "miner_id": None, "started_us": None}
# So many jobs past their time are cleared away by one poll at the most, before it finds one that is not.
_MAX_OVERDUE = 50

# All that a poll must know before it decides, read with the miner in one statement.
_POLLING = miners_service.Lookup(
    select(func.count())
    .select_from(attempts)
    .where(text(LIVE), attempts.c.miner_id == miners.c.id)
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
    eligible = eligible_classes(tx, miner.profile_sha256, lambda: miners_service.profile_of(miner), miner.newest_class)
    if len(eligible) > _MANY_CLASSES:
        eligible = eligible.intersection(tx.scalars(_PENDING_CLASSES))
    items, overdue = _claim(tx, miner, eligible, min(limit, miner.concurrency - miner.held)) if eligible else ([], 0)
    if items and now - miner.last_assigned_us > _ASSIGNED_KNOWN_US:
        tx.execute(_NOTE_ASSIGNED, {"this_miner": miner.id, "now": now})
    return PollRead(
        items=items,
        poll_after_seconds=_poll_after_seconds(tx, miner, now, more_waits=bool(items) or overdue == _MAX_OVERDUE),
    )


def _polling(tx: Connection, owner_id: str, miner_id: str | None) -> Row[Any]:
    heartbeat_timeout_us = settings().heartbeat_timeout_seconds * clock.SECOND_US
    return miners_service.acting(tx, owner_id, miner_id, lookup=_POLLING, heartbeat_timeout_us=heartbeat_timeout_us)


def _claim(tx: Connection, miner: Row[Any], eligible: frozenset[str], count: int) -> tuple[list[Assignment], int]:
    """Leases up to so many jobs; gives them and the number of jobs that were found past their time and failed."""
    wanted = {
        "classes": json.dumps(list(eligible)) if tx.dialect.name == "sqlite" else list(eligible),
        "price": miner.price_atoms,
        "miner_id": miner.id,
        "concurrency": miner.concurrency,
    }
    items: list[Assignment] = []
    overdue = 0
    while len(items) < count and overdue < _MAX_OVERDUE:
        lease_token = secrets.token_hex(16)
        job = _take(tx, wanted, lease_token)
        if job is None:
            break
        if job.expires_us <= job.started_us:
            overdue += 1
            tx.execute(update(jobs).where(jobs.c.id == job.id).values(_TAKEN_BACK))
            expire_locked(tx, job.id, job.started_us)
        else:
            lease_expires_us, _ = _lease_ends(job)
            items.append(_assignment(miner, job, job.attempts, lease_token, lease_expires_us, job.started_us))
    return items, overdue


def _take(tx: Connection, wanted: dict[str, Any], lease_token: str) -> Row[Any] | None:
    """Takes the best job and leases it, unless it is past its time: then the caller must end it."""
    if tx.dialect.name == "postgresql":
        lease_us = settings().lease_seconds * clock.SECOND_US
        return tx.execute(
            _TAKE_AND_LEASE_POSTGRES, {**wanted, "lease_token": lease_token, "lease_us": lease_us}
        ).first()
    job = tx.execute(_TAKE_SQLITE, wanted).first()
    if job is not None and job.expires_us > job.started_us:
        lease_expires_us, deadline_us = _lease_ends(job)
        lease = {
            "job_id": job.id,
            "attempt": job.attempts,
            "miner_id": wanted["miner_id"],
            "lease_token": lease_token,
            "started_us": job.started_us,
            "lease_expires_us": lease_expires_us,
            "deadline_us": deadline_us,
            "progress_percent": 0.0,
        }
        tx.execute(_LEASE, lease)
    return job


def _lease_ends(job: Row[Any]) -> tuple[int, int]:
    """When the new lease of the job ends unless it is renewed, and when its attempt does."""
    deadline_us = job.started_us + job.timeout_seconds * clock.SECOND_US
    return min(job.started_us + settings().lease_seconds * clock.SECOND_US, deadline_us), deadline_us


def _redelivered(tx: Connection, miner: Row[Any], limit: int, now_us: int) -> list[Assignment]:
    held = (
        select(jobs, attempts.c.attempt, attempts.c.lease_token, attempts.c.lease_expires_us)
        .join(attempts, attempts.c.job_id == jobs.c.id)
        .where(attempts.c.miner_id == miner.id, text(LIVE))
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
