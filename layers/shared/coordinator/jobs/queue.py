"""The queue: which job a miner gets next, and the guarantee that no other miner gets it too."""

import json
import random
import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Connection, Row, bindparam, func, select, text, update

from coordinator.core import clock
from coordinator.core.config import settings
from coordinator.core.database import database
from coordinator.core.money import format_aitbc
from coordinator.core.pages import fitting
from coordinator.jobs import claims
from coordinator.jobs.classes import NEWEST_CLASS, eligible_classes, known_classes
from coordinator.jobs.expiry import anything_overdue, expire_locked, sweep
from coordinator.jobs.heads import HEADS_POSTGRES, HEADS_SQLITE, ORDER
from coordinator.jobs.lease_schemas import Assignment, PollRead
from coordinator.jobs.lifecycle import undo_lease, undo_taking
from coordinator.jobs.models import CHARACTERS, HELD, attempts, jobs
from coordinator.miners import service as miners_service
from coordinator.miners.liveness import ACTIVE, revive
from coordinator.miners.models import IS_ACTIVE, miners

_SWEEP_LIMIT = 20

# Nothing of a caller is ever put into these texts; what varies is bound.
# ruff: noqa: S608
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
_RANK = {
    dialect: text(f"SELECT j.class_number FROM {heads} ORDER BY {ORDER('j')} LIMIT :most")
    for dialect, heads in (("sqlite", HEADS_SQLITE), ("postgresql", HEADS_POSTGRES))
}
# Up to so many classes are looked at in each claim.
_FEW_CLASSES = 64
_RANKED_CLASSES = 1024
# Of more classes those that have jobs are put in order now and then, and this part of the time goes into that.
_RANKING_SHARE = 0.05
_LONGEST_RANKING_KEPT_SECONDS = 1.0
_MAX_RANKINGS = 1000
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


def claim(owner_id: str, miner_id: str | None, limit: int) -> PollRead:
    """Leases the next jobs to a miner, as `poll` does, in a transaction of its own.

    On PostgreSQL that is one trip, as long as nothing has changed about a miner that polled here before.
    """
    return _claim_alone(owner_id, miner_id, limit) or database().write(lambda tx: poll(tx, owner_id, miner_id, limit))


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
    if miner.status != ACTIVE:
        revive(tx, miner.id, now)
    _note_seen(miner)
    if miner.held >= miner.concurrency:
        return PollRead(items=_redelivered(tx, miner, limit, now), poll_after_seconds=_HOLDING_ALL_SECONDS)
    eligible = eligible_classes(tx, miner.profile_sha256, miner.newest_class)
    classes = list(eligible) if len(eligible) <= _FEW_CLASSES else _ranked(tx, miner, eligible)
    items, more_waits = _claim(tx, miner, classes, min(limit, miner.concurrency - miner.held))
    if items and now - miner.last_assigned_us > _ASSIGNED_KNOWN_US:
        tx.execute(_NOTE_ASSIGNED, {"this_miner": miner.id, "now": now})
    if more_waits:
        return PollRead(items=items, poll_after_seconds=_SOONEST_SECONDS)
    idle_us = now - miner.last_assigned_us
    return PollRead(items=items, poll_after_seconds=_idle_seconds(idle_us, _active_miners(tx)))


def _polling(tx: Connection, owner_id: str, miner_id: str | None) -> Row[Any]:
    heartbeat_timeout_us = settings().heartbeat_timeout_seconds * clock.SECOND_US
    return miners_service.acting(tx, owner_id, miner_id, lookup=_POLLING, heartbeat_timeout_us=heartbeat_timeout_us)


@dataclass
class _Seen:
    """A miner as it was when it last polled this process."""

    profile_sha256: str
    price_atoms: int
    concurrency: int
    # Till then it need not be noted that it got a job.
    assigned_known_until: float = 0.0


_seen: dict[str, _Seen] = {}
_MAX_SEEN = 10_000


def _note_seen(miner: Row[Any]) -> None:
    if len(_seen) >= _MAX_SEEN:
        _seen.clear()
    _seen[miner.id] = _Seen(miner.profile_sha256, miner.price_atoms, miner.concurrency)


def _claim_alone(owner_id: str, miner_id: str | None, limit: int) -> PollRead | None:
    """What a miner gets that is known to this process; None if there is more to do than to give it jobs."""
    seen = _seen.get(miner_id or "")
    known = known_classes(seen.profile_sha256) if seen else None
    if miner_id is None or seen is None or known is None or len(known.eligible) > _FEW_CLASSES:
        return None
    if database().engine.dialect.name != "postgresql":
        return None
    miner = claims.Known(
        id=miner_id,
        owner_id=owner_id,
        profile_sha256=seen.profile_sha256,
        price_atoms=seen.price_atoms,
        concurrency=seen.concurrency,
        classes=list(known.eligible),
        newest_class=known.number,
    )
    note_assigned = time.monotonic() >= seen.assigned_known_until
    answer = claims.take_alone(miner, limit, note_assigned=note_assigned)
    if answer is None:
        return None
    if answer.found.taken:
        if note_assigned:
            seen.assigned_known_until = time.monotonic() + _ASSIGNED_KNOWN_US / clock.SECOND_US
        taken = answer.found.taken
        most = fitting(_characters(each.job) for each in taken)
        if most < len(taken):
            # They can't be told in one answer, so nobody has heard of the rest.
            database().write(lambda tx: _undo(tx, taken[most:]))
        items = [_assignment(miner.price_atoms, each) for each in taken[:most]]
        return PollRead(items=items, poll_after_seconds=_SOONEST_SECONDS)
    if answer.found.wanted:
        # Others are at the same jobs, so the next is to be looked for in one class after the other.
        return None
    idle_us = answer.now_us - answer.last_assigned_us
    return PollRead(items=[], poll_after_seconds=_idle_seconds(idle_us, _active_miners()))


def _claim(tx: Connection, miner: Row[Any], classes: list[int], count: int) -> tuple[list[Assignment], bool]:
    """Leases up to so many jobs, the best of these classes; tells too whether more may wait.

    Classes that have no job left are taken off the list.
    """
    leased: list[claims.Taken] = []
    overdue = 0
    taken_by_others = False
    while classes and len(leased) < count and overdue < _MAX_OVERDUE:
        # Others are at the same jobs, so the next is looked for in one class after the other.
        most = 1 if taken_by_others else count - len(leased)
        found = claims.take(tx, miner, classes[:_FEW_CLASSES], most)
        for taken in found.taken:
            if taken.lease_token is None:
                overdue += 1
                undo_taking(tx, taken.job.id)
                expire_locked(tx, taken.job, taken.job.started_us)
            else:
                leased.append(taken)
        fit = fitting(_characters(taken.job) for taken in leased)
        if fit < len(leased):
            _undo(tx, leased[fit:])
            del leased[fit:]
            break
        if len(found.taken) < found.wanted:
            taken_by_others = True
            if found.class_number is not None:
                classes.remove(found.class_number)
        elif found.wanted < found.most:
            del classes[:_FEW_CLASSES]
    items = [_assignment(miner.price_atoms, taken) for taken in leased]
    return items, bool(items) or taken_by_others or overdue >= _MAX_OVERDUE


def _characters(job: Any) -> int:
    return len(job.parameters) + len(job.constraints)


def _undo(tx: Connection, leased: list[claims.Taken]) -> None:
    for taken in leased:
        undo_lease(tx, taken.job.id, str(taken.lease_token))


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


def _redelivered(tx: Connection, miner: Row[Any], limit: int, now_us: int) -> list[Assignment]:
    held = (
        select(jobs, attempts.c.attempt, attempts.c.lease_token, attempts.c.lease_expires_us)
        .join(attempts, attempts.c.job_id == jobs.c.id)
        .where(attempts.c.miner_id == miner.id, text(HELD))
        .order_by(attempts.c.started_us, jobs.c.id)
    )
    most = fitting(tx.scalars(held.with_only_columns(CHARACTERS).limit(limit)))
    return [
        _assignment_of(
            miner.price_atoms, row, row.attempt, row.lease_token, row.lease_expires_us, now_us, redelivered=True
        )
        for row in tx.execute(held.limit(most))
    ]


def _assignment(price_atoms: int, taken: claims.Taken) -> Assignment:
    lease_expires_us, _ = taken.lease_ends()
    job = taken.job
    return _assignment_of(price_atoms, job, job.attempts, taken.lease_token, lease_expires_us, job.started_us)


def _assignment_of(
    price_atoms: int,
    job: Any,
    attempt: int,
    lease_token: str | None,
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
        price=format_aitbc(price_atoms),
        redelivered=redelivered,
    )


def _idle_seconds(idle_us: int, active_miners: int) -> float:
    """When to ask next while there is no work: later the longer there was none, spread over all miners."""
    wait: float = min(max(idle_us / clock.SECOND_US * _IDLENESS_SHARE, _FIRST_IDLE_SECONDS), _LONGEST_SECONDS)
    share = active_miners / settings().idle_polls_per_second
    # Jitter only lengthens, so that the polls of all stay under their rate.
    return round(max(wait, share) * random.uniform(1.0, 1.25), 3)  # noqa: S311  (no secret hangs on it)


class _Counted:
    """How many active miners there were when this process last counted them."""

    active = 0
    until = 0.0


def _active_miners(tx: Connection | None = None) -> int:
    if time.monotonic() >= _Counted.until:
        _Counted.active = _count_active(tx) if tx is not None else database().read(_count_active)
        _Counted.until = time.monotonic() + _ACTIVE_MINERS_KEPT_SECONDS
    return _Counted.active


def _count_active(tx: Connection) -> int:
    return tx.scalar(select(func.count()).select_from(miners).where(text(IS_ACTIVE))) or 0
