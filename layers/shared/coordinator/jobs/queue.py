"""The queue: which job a miner gets next, and the guarantee that no other miner gets it too."""

import json
import random
import secrets
import time
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, text, update

from coordinator.core import clock
from coordinator.core.config import settings
from coordinator.core.money import format_aitbc
from coordinator.jobs.classes import eligible_classes
from coordinator.jobs.expiry import expire_locked, sweep
from coordinator.jobs.lifecycle import attempts, jobs
from coordinator.jobs.models import LIVE
from coordinator.jobs.schemas import Assignment, PollRead
from coordinator.miners import service as miners_service
from coordinator.miners.service import miners

_SWEEP_LIMIT = 20

# Nothing of a caller is ever put into these texts; what varies is bound.
# ruff: noqa: S608
_TAKE = """
UPDATE jobs
SET status = 'running', attempts = attempts + 1, miner_id = :miner_id, started_us = :now, updated_us = :now
WHERE status = 'pending' AND id = ({head})
RETURNING id, job_type, parameters, constraints, attempts, max_attempts, timeout_seconds, expires_us
"""
_ORDER = "ORDER BY {0}.priority DESC, {0}.max_price_atoms DESC, {0}.id LIMIT 1"
_PENDING = "{0}.status = 'pending' AND {0}.max_price_atoms >= :price"
# The first job of each class costs one look into the index `jobs_queue`, however many jobs wait behind it.
_FIRST = f"SELECT {{columns}} FROM jobs AS h WHERE h.class_id = c.{{id}} AND {_PENDING} {_ORDER}".format
_CLAIM = {
    "sqlite": text(
        _TAKE.format(
            head=f"""
            SELECT j.id FROM json_each(:classes) AS c
            JOIN jobs AS j ON j.id = ({_FIRST("h", columns="h.id", id="value")})
            {_ORDER.format("j")}
            """
        )
    ),
    # Only the job that is taken gets locked: first the best class is found, then its first job that nobody holds.
    "postgresql": text(
        _TAKE.format(
            head=f"""
            SELECT f.id FROM jobs AS f
            WHERE {_PENDING.format("f")} AND f.class_id = (
                SELECT j.class_id FROM unnest(CAST(:classes AS text[])) AS c(id)
                CROSS JOIN LATERAL ({_FIRST("h", columns="h.*", id="id")}) AS j
                {_ORDER.format("j")}
            )
            {_ORDER.format("f")} FOR UPDATE SKIP LOCKED
            """
        )
    ),
}
_COUNT_HELD = select(func.count()).select_from(attempts).where(text(LIVE))

# How many polls a second all idle miners together may make.
_IDLE_POLLS_PER_SECOND = 50
_SOONEST_SECONDS = 0.1
_FIRST_IDLE_SECONDS = 0.5
_LONGEST_SECONDS = 5.0
# The wait grows to this part of the time for which the miner got nothing.
_IDLENESS_SHARE = 0.25
_ACTIVE_MINERS_KEPT_SECONDS = 5


def poll(tx: Connection, owner_id: str, miner_id: str | None, limit: int) -> PollRead:
    """Leases the next jobs to a miner, as many as it may still hold and asked for.

    A miner that holds all it may is handed what it holds once more: it may have lost the answer.
    """
    miner = miners_service.acting(tx, owner_id, miner_id)
    now = clock.now_us(tx)
    if miner.status != miners_service.ACTIVE:
        miners_service.revive(tx, miner.id, now)
    sweep(tx, now, _SWEEP_LIMIT)
    held = tx.scalar(_COUNT_HELD.where(attempts.c.miner_id == miner.id)) or 0
    if held >= miner.concurrency:
        return PollRead(items=_redelivered(tx, miner, limit, now), poll_after_seconds=1.0)
    items = _claim(tx, miner, min(limit, miner.concurrency - held), now)
    if items:
        tx.execute(update(miners).where(miners.c.id == miner.id).values(last_assigned_us=now))
    return PollRead(items=items, poll_after_seconds=_poll_after_seconds(tx, miner, now, got_work=bool(items)))


def _claim(tx: Connection, miner: Row[Any], count: int, now_us: int) -> list[Assignment]:
    classes = eligible_classes(tx, miner.profile_sha256, miners_service.profile_of(miner))
    if not classes:
        return []
    wanted = {
        "classes": json.dumps(classes) if tx.dialect.name == "sqlite" else classes,
        "price": miner.price_atoms,
        "miner_id": miner.id,
        "now": now_us,
    }
    items: list[Assignment] = []
    while len(items) < count:
        job = tx.execute(_CLAIM[tx.dialect.name], wanted).first()
        if job is None:
            break
        if job.expires_us <= now_us:
            expire_locked(tx, job.id, now_us)
        else:
            items.append(_lease(tx, miner, job, now_us))
    return items


def _lease(tx: Connection, miner: Row[Any], job: Row[Any], now_us: int) -> Assignment:
    deadline_us = now_us + job.timeout_seconds * clock.SECOND_US
    lease = {
        "job_id": job.id,
        "attempt": job.attempts,
        "miner_id": miner.id,
        "lease_token": secrets.token_hex(16),
        "started_us": now_us,
        "lease_expires_us": min(now_us + settings().lease_seconds * clock.SECOND_US, deadline_us),
        "deadline_us": deadline_us,
        "progress_percent": 0.0,
    }
    tx.execute(insert(attempts), lease)
    return _assignment(miner, job, lease["attempt"], lease["lease_token"], lease["lease_expires_us"], now_us)


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


def _poll_after_seconds(tx: Connection, miner: Row[Any], now_us: int, *, got_work: bool) -> float:
    """When to ask next: soon while there is work, later the longer there was none, spread over all miners."""
    if got_work:
        return _SOONEST_SECONDS
    idle_seconds = (now_us - miner.last_assigned_us) / clock.SECOND_US
    wait: float = min(max(idle_seconds * _IDLENESS_SHARE, _FIRST_IDLE_SECONDS), _LONGEST_SECONDS)
    share = _active_miners(tx) / _IDLE_POLLS_PER_SECOND
    # Jitter only lengthens, so that the polls of all stay under their rate.
    return round(max(wait, share) * random.uniform(1.0, 1.25), 3)  # noqa: S311  (no secret hangs on it)


class _Counted:
    """How many active miners there were when this process last counted them."""

    active = 0
    until = 0.0


def _active_miners(tx: Connection) -> int:
    if time.monotonic() >= _Counted.until:
        count = select(func.count()).select_from(miners).where(text("status = 'active'"))
        _Counted.active = tx.scalar(count) or 0
        _Counted.until = time.monotonic() + _ACTIVE_MINERS_KEPT_SECONDS
    return _Counted.active
