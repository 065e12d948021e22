"""Taking jobs: how a miner gets its leases, of one job or of several at once."""

import json
import secrets
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, insert, text

from coordinator.core import clock
from coordinator.core.config import settings
from coordinator.core.database import database
from coordinator.core.prepared import Later, Prepared
from coordinator.jobs.heads import HEADS_SQLITE, ORDER
from coordinator.jobs.models import HELD, attempts
from coordinator.miners import service as miners_service

# Nothing of a caller is ever put into this text; what varies is bound.
_NOW = clock.NOW_US_SQL["sqlite"]
_TAKE_SQLITE = Prepared(
    text(f"""
    UPDATE jobs
    SET status = 'running', attempts = attempts + 1, miner_id = :miner_id, started_us = {_NOW}, updated_us = {_NOW}
    WHERE id = (SELECT j.id FROM {HEADS_SQLITE} ORDER BY {ORDER("j")} LIMIT 1)
        AND (SELECT count(*) FROM attempts WHERE {HELD} AND attempts.miner_id = :miner_id) < :concurrency
    RETURNING id, job_type, parameters, constraints, attempts, max_attempts, timeout_seconds, expires_us, started_us,
        max_price_atoms, payer_id, holds
    """)  # noqa: S608
)
_LEASE_SQLITE = Prepared(insert(attempts))


class Taken(NamedTuple):
    """A job that a miner has got, or that was past its time."""

    job: Any
    # None if it was past its time: then it has no lease, and the caller must end it.
    lease_token: str | None

    def lease_ends(self) -> tuple[int, int]:
        """When the lease ends unless it is renewed, and when its attempt does."""
        deadline_us = self.job.started_us + self.job.timeout_seconds * clock.SECOND_US
        return min(self.job.started_us + _lease_us(), deadline_us), deadline_us


class Found(NamedTuple):
    """What there was for a miner."""

    taken: list[Taken]
    # How many were to be taken; others may have held some of them at that moment.
    wanted: int
    # How many would have been, had there been so many.
    most: int
    # The class of the best, where no more than one was looked for.
    class_number: int | None = None


def take(tx: Connection, miner: Row[Any], classes: list[int], most: int) -> Found:
    """Takes the best jobs of these classes for a miner whose lock the caller holds."""
    asked = {"miner_id": miner.id, "price": miner.price_atoms, "concurrency": miner.concurrency}
    if tx.dialect.name == "sqlite":
        return _take_on_sqlite(tx, {**asked, "classes": json.dumps(classes)})
    statement = _postgres_statement(miner.price_atoms, classes, most, alone=False)
    return _found(statement.rows(tx, {**asked, "classes": classes, "most": most, "lease_us": _lease_us()}), most)


def _take_on_sqlite(tx: Connection, asked: dict[str, Any]) -> Found:
    job = _TAKE_SQLITE.first(tx, asked)
    if job is None:
        return Found([], 0, 1)
    if job.expires_us <= job.started_us:
        return Found([Taken(job, None)], 1, 1)
    taken = Taken(job, secrets.token_hex(16))
    lease_expires_us, deadline_us = taken.lease_ends()
    lease = {
        "job_id": job.id,
        "attempt": job.attempts,
        "miner_id": asked["miner_id"],
        "lease_token": taken.lease_token,
        "started_us": job.started_us,
        "lease_expires_us": lease_expires_us,
        "deadline_us": deadline_us,
        "progress_percent": 0.0,
    }
    _LEASE_SQLITE.later(tx, lease)
    return Found([taken], 1, 1)


class Known(NamedTuple):
    """What this process knows of a miner, and what it has worked out for miners like it."""

    id: str
    owner_id: str
    profile_sha256: str
    price_atoms: int
    concurrency: int
    classes: list[int]
    newest_class: int


class FoundAlone(NamedTuple):
    """What there was for a miner about which nothing has changed."""

    found: Found
    last_assigned_us: int
    now_us: int


def take_alone(miner: Known, most: int, *, note_assigned: bool) -> FoundAlone | None:
    """Takes jobs in a transaction of its own, all of which is one trip to a PostgreSQL server.

    None if anything is not as it is known, or is to be done before: then nothing was taken, and the caller must look.

    Args:
        miner: what is known of it.
        most: how many jobs it wants.
        note_assigned: whether it is to be noted when this miner last got a job, if it gets one.
    """
    most = min(most, miner.concurrency)
    rows = database().write(lambda tx: _ask(tx, miner, most, note_assigned=note_assigned)).rows()
    if not rows or rows[0].room <= 0:
        return None
    return FoundAlone(_found(rows, most), rows[0].last_assigned_us, rows[0].now_us)


# Of a lease that began in this very transaction, or while it waited for the miner.
_NOTE_ASSIGNED = Prepared(
    text(f"""
    UPDATE miners SET last_assigned_us = {clock.NOW_US_SQL["postgresql"]}
    WHERE id = :miner_id AND EXISTS (
        SELECT 1 FROM attempts
        WHERE {HELD} AND attempts.miner_id = :miner_id
            AND started_us >= CAST(extract(epoch FROM now()) * {clock.SECOND_US} AS bigint)
    )
    """)  # noqa: S608
)


def _ask(tx: Connection, miner: Known, most: int, *, note_assigned: bool) -> Later:
    miners_service.lock_later(tx, miner.id)
    asked = {
        "miner_id": miner.id,
        "owner_id": miner.owner_id,
        "profile_sha256": miner.profile_sha256,
        "price": miner.price_atoms,
        "concurrency": miner.concurrency,
        "classes": miner.classes,
        "newest_class": miner.newest_class,
        "most": most,
        "lease_us": _lease_us(),
        "heartbeat_timeout_us": settings().heartbeat_timeout_seconds * clock.SECOND_US,
    }
    statement = _postgres_statement(miner.price_atoms, miner.classes, most, alone=True)
    waiting = statement.later(tx, asked)
    if note_assigned:
        _NOTE_ASSIGNED.later(tx, {"miner_id": miner.id})
    return waiting


def _postgres_statement(price_atoms: int, classes: list[int], most: int, *, alone: bool) -> Prepared:
    # Where it is SQLite, nothing of PostgreSQL is needed.
    from coordinator.jobs.postgres_claims import statement  # noqa: PLC0415

    return statement(alone=alone, several=most > 1, one_class=len(classes) == 1, free=price_atoms == 0)


def _found(rows: list[Any], most: int) -> Found:
    taken = [Taken(row, row.lease_token) for row in rows if row.id is not None]
    return Found(taken, rows[0].wanted or 0, most, rows[0].class_number)


def _lease_us() -> int:
    return settings().lease_seconds * clock.SECOND_US
