"""What the clock does to jobs: by schedule, and again at each claim, so that a dead schedule stalls nothing."""

from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, RowMapping, or_, select, text

from coordinator.jobs.lifecycle import Outcome, end_lease, end_live_attempt, fail_job, lock_job, release_leases
from coordinator.jobs.models import FINISHED, LIVE, UNFINISHED, JobStatus, attempts, jobs
from coordinator.miners.liveness import give_up_silent
from coordinator.miners.models import IS_ACTIVE, miners


class Swept(NamedTuple):
    expired_jobs: int
    expired_leases: int
    silent_miners: int


def sweep(tx: Connection, now_us: int, limit: int) -> Swept:
    """Fails jobs past their time to live, returns expired leases, gives up silent miners: `limit` of each at most.

    Several sweeps at once share the work: what another one holds is passed over.
    """
    expired_jobs = sum(_expire_job(tx, job_id, now_us) for job_id in _jobs_past_their_time(tx, now_us, limit))
    expired_leases = sum(
        end_lease(tx, job_id, Outcome.EXPIRED, now_us, expired_only=True, skip_locked=True)
        for job_id in _jobs_with_expired_lease(tx, now_us, limit)
    )
    silent = give_up_silent(tx, now_us, limit)
    for miner_id in silent:
        # A lease that is passed over because somebody else is at it will expire of itself.
        release_leases(tx, miner_id, now_us, skip_locked=True)
    return Swept(expired_jobs, expired_leases, len(silent))


def is_overdue(job: RowMapping, now_us: int) -> bool:
    """Tells whether the clock has ended an unfinished job or its lease, though no sweep has come by yet."""
    lease_ended = job["status"] == JobStatus.RUNNING and job["lease_expires_us"] <= now_us
    return bool(lease_ended or job["expires_us"] <= now_us)


def anything_overdue(now_us: Any, silent_since_us: Any) -> ColumnElement[bool]:
    """A condition for other statements, true when a sweep would find something to do.

    It looks at the first of each index. Asked for the existence of an overdue row, a planner may read the whole table
    instead, as it takes a third of it to be overdue.
    """
    first_to_expire = select(jobs.c.expires_us).where(text(UNFINISHED)).order_by(jobs.c.expires_us)
    first_lease = select(attempts.c.lease_expires_us).where(text(LIVE)).order_by(attempts.c.lease_expires_us)
    most_silent = select(miners.c.last_heartbeat_us).where(text(IS_ACTIVE)).order_by(miners.c.last_heartbeat_us)
    return or_(
        first_to_expire.limit(1).correlate_except(jobs).scalar_subquery() <= now_us,
        first_lease.limit(1).correlate_except(attempts).scalar_subquery() <= now_us,
        most_silent.limit(1).correlate_except(miners).scalar_subquery() <= silent_since_us,
    )


def end_overdue(tx: Connection, job_id: str, now_us: int) -> None:
    """Does for one job what a sweep would do."""
    if not _expire_job(tx, job_id, now_us):
        end_lease(tx, job_id, Outcome.EXPIRED, now_us, expired_only=True)


def expire_locked(tx: Connection, job: Row[Any], now_us: int) -> None:
    """Fails a job that is past its time to live; the caller holds its lock."""
    end_live_attempt(tx, job.id, Outcome.EXPIRED, now_us)
    fail_job(tx, job, "EXPIRED", "The job was not finished within its time to live.", now_us)


def _expire_job(tx: Connection, job_id: str, now_us: int) -> bool:
    job = lock_job(tx, job_id, skip_locked=True)
    if job is None or job.status in FINISHED or job.expires_us > now_us:
        return False
    expire_locked(tx, job, now_us)
    return True


def _jobs_past_their_time(tx: Connection, now_us: int, limit: int) -> list[str]:
    past = select(jobs.c.id).where(text(UNFINISHED), jobs.c.expires_us <= now_us)
    return list(tx.scalars(past.order_by(jobs.c.expires_us).limit(limit)))


def _jobs_with_expired_lease(tx: Connection, now_us: int, limit: int) -> list[str]:
    expired = select(attempts.c.job_id).where(text(LIVE), attempts.c.lease_expires_us <= now_us)
    return list(tx.scalars(expired.order_by(attempts.c.lease_expires_us).limit(limit)))
