"""How a miner keeps its leases: heartbeats, progress, and giving everything back."""

from hmac import compare_digest
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, select, text, update

from coordinator.core import clock
from coordinator.core.config import settings
from coordinator.core.ids import is_id
from coordinator.jobs.errors import JobNotFound, LeaseLost
from coordinator.jobs.lease_schemas import HeartbeatRead, LeaseRead, ProgressCreate, ProgressRead
from coordinator.jobs.lifecycle import Outcome, release_leases
from coordinator.jobs.models import HELD, LIVE, attempts, jobs
from coordinator.miners import service as miners_service
from coordinator.miners.schemas import Heartbeat, MinerRead, MinerRegister

_LIVE = text(LIVE)
_OWN_ATTEMPTS = (
    select(attempts)
    .where(attempts.c.job_id == bindparam("job_id"), attempts.c.miner_id == bindparam("miner_id"))
    .order_by(attempts.c.attempt.desc())
)


def register(tx: Connection, owner_id: str, body: MinerRegister) -> miners_service.Registration:
    """Registers a miner; one that starts anew has forgotten its jobs, so they go back to the queue."""
    registration = miners_service.register(tx, owner_id, body)
    if not registration.created:
        release_leases(tx, registration.miner.id, clock.now_us(tx))
    return registration


def deregister(tx: Connection, owner_id: str, miner_id: str | None) -> MinerRead:
    miner = miners_service.acting(tx, owner_id, miner_id)
    release_leases(tx, miner.id, miner.now_us)
    return miners_service.retire(tx, miner.id)


def heartbeat(tx: Connection, owner_id: str, miner_id: str | None, body: Heartbeat) -> HeartbeatRead:
    """Notes that a miner lives, renews its leases and tells it which of its jobs were cancelled."""
    miner = miners_service.acting(tx, owner_id, miner_id)
    now = miner.now_us
    miners_service.note_heartbeat(tx, miner.id, body, now)
    mine = (attempts.c.miner_id == miner.id) & text(HELD)
    working_on = mine & attempts.c.job_id.in_(body.inflight) if isinstance(body.inflight, list) else mine
    _renew(tx, working_on, now)
    leases = tx.execute(select(attempts).where(mine).order_by(attempts.c.started_us, attempts.c.job_id)).all()
    # A cancelled job may have been requeued and be this miner's again.
    held = {lease.job_id for lease in leases}
    return HeartbeatRead(
        status="active",
        server_time=clock.rfc3339(now),
        heartbeat_interval_seconds=settings().heartbeat_interval_seconds,
        leases=[
            LeaseRead(
                job_id=lease.job_id,
                lease_token=lease.lease_token,
                expires_in_seconds=clock.seconds_until(lease.lease_expires_us, now),
            )
            for lease in leases
        ],
        cancelled_jobs=[job_id for job_id in _recently_cancelled(tx, miner.id, now) if job_id not in held],
    )


def report_progress(
    tx: Connection, owner_id: str, miner_id: str | None, job_id: str, body: ProgressCreate
) -> ProgressRead:
    """Notes how far a job is and renews its lease.

    Raises:
        JobNotFound: the miner never held this job.
        LeaseLost: it holds it no longer.
    """
    miner = miners_service.acting(tx, owner_id, miner_id)
    attempt = attempt_of(tx, miner.id, job_id, body.lease_token)
    now = miner.now_us
    if attempt.outcome == Outcome.CANCELLED:
        return ProgressRead(lease_expires_in_seconds=0.0, cancelled=True)
    this = (attempts.c.job_id == job_id) & (attempts.c.attempt == attempt.attempt) & _LIVE
    # What is past its time is as good as failed, whether or not a sweep came by.
    in_time = select(jobs.c.id).where(jobs.c.id == job_id, jobs.c.expires_us > now).exists()
    if not _renew(tx, this & in_time, now, progress_percent=body.percent, progress_message=body.message):
        raise LeaseLost
    renewed = tx.execute(select(attempts.c.lease_expires_us).where(this)).scalar_one()
    return ProgressRead(lease_expires_in_seconds=clock.seconds_until(renewed, now), cancelled=False)


def attempt_of(tx: Connection, miner_id: str, job_id: str, lease_token: str | None) -> Row[Any]:
    """The attempt that a miner speaks of: the one with its token, else its latest of this job.

    Raises:
        JobNotFound: the miner never held this job.
        LeaseLost: it did, but not by this lease.
    """
    if not is_id(job_id):
        raise JobNotFound
    mine = tx.execute(_OWN_ATTEMPTS, {"job_id": job_id, "miner_id": miner_id}).all()
    if not mine:
        raise JobNotFound
    named = [attempt for attempt in mine if is_meant(attempt, lease_token)]
    if not named:
        raise LeaseLost
    return named[0]


def is_meant(attempt: Row[Any], lease_token: str | None) -> bool:
    """Tells whether a call with this token, or with none, may speak of this attempt."""
    return lease_token is None or compare_digest(attempt.lease_token.encode(), lease_token.encode())


def _renew(tx: Connection, which: Any, now_us: int, **progress: Any) -> bool:
    """Lengthens leases, never past the end of their attempts; tells whether there were any."""
    until = now_us + settings().lease_seconds * clock.SECOND_US
    least = func.min if tx.dialect.name == "sqlite" else func.least
    renewed = {"lease_expires_us": least(until, attempts.c.deadline_us), **progress}
    return bool(tx.execute(update(attempts).where(which).values(renewed)).rowcount)


def _recently_cancelled(tx: Connection, miner_id: str, now_us: int) -> list[str]:
    """Told for as long as a miner may stay silent; after that its own lease has ended anyway."""
    since = now_us - settings().heartbeat_timeout_seconds * clock.SECOND_US
    cancelled = select(attempts.c.job_id).where(
        attempts.c.miner_id == miner_id, text("outcome = 'cancelled'"), attempts.c.ended_us >= since
    )
    return list(tx.scalars(cancelled.order_by(attempts.c.ended_us)))
