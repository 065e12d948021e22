"""What operators do with jobs and miners; each change is in the audit, by the transaction that made it."""

from typing import Any

from sqlalchemy import Connection, Row, literal_column, select, text

from coordinator.audit.service import record
from coordinator.core import clock
from coordinator.core.ids import is_id
from coordinator.core.schemas import Page, PageQuery
from coordinator.jobs import service
from coordinator.jobs.errors import JobFinished, JobNotFound
from coordinator.jobs.lifecycle import cancel_job, is_over, lock_job, release_leases, requeue_job
from coordinator.jobs.models import LIVE, JobStatus, attempts, jobs
from coordinator.jobs.schemas import JobRead
from coordinator.miners import operations as miners_operations
from coordinator.miners.operations import MinerOperatorRead


def cancel(tx: Connection, admin_id: str, job_id: str) -> JobRead:
    """Fails a job that is not finished, as its client could.

    Raises:
        JobNotFound: there is no such job.
        JobFinished: it is finished, and not by having been cancelled.
    """
    job = _lock(tx, job_id)
    if cancel_job(tx, job, "An operator cancelled the job."):
        record(tx, admin_id, "job.cancel", job.id, was=job.status)
    return service.read_job(tx, job.id)


def requeue(tx: Connection, admin_id: str, job_id: str) -> JobRead:
    """Takes a job from its miner, or takes back that it failed; a job that waits already stays as it is.

    The job keeps its place in the order and its time to live; what had ended gets all of that time once more.

    Raises:
        JobNotFound: there is no such job.
        JobFinished: it is completed.
        InsufficientFunds: it has failed, and its user can't pay for it any more; raised when the transaction ends.
    """
    job = _lock(tx, job_id)
    if job.status == JobStatus.COMPLETED:
        raise JobFinished("The job is completed and can't be requeued.", status=job.status)
    over = is_over(job)
    if over or job.status == JobStatus.RUNNING:
        expires_us = job.now_us + job.ttl_seconds * clock.SECOND_US if over else job.expires_us
        requeue_job(tx, job, expires_us)
        record(tx, admin_id, "job.requeue", job.id, was=job.status, miner_id=job.miner_id, error=job.error_code)
    return service.read_job(tx, job.id)


def disable_miner(tx: Connection, admin_id: str, miner_id: str) -> MinerOperatorRead:
    """Gives all that a miner holds back to the queue and refuses its calls until it is enabled.

    Raises:
        NoSuchMiner: there is no such miner.
    """
    miner = miners_operations.lock(tx, miner_id)
    if not miner.disabled:
        release_leases(tx, miner.id, clock.now_us(tx))
        miners_operations.disable(tx, miner.id)
        record(tx, admin_id, "miner.disable", miner.id, was=miner.status)
    return miners_operations.get(tx, miner.id)


def enable_miner(tx: Connection, admin_id: str, miner_id: str) -> MinerOperatorRead:
    """Lets a disabled miner work again.

    Raises:
        NoSuchMiner: there is no such miner.
    """
    miner = miners_operations.lock(tx, miner_id)
    if miner.disabled:
        miners_operations.enable(tx, miner.id)
        record(tx, admin_id, "miner.enable", miner.id)
    return miners_operations.get(tx, miner.id)


def page(
    tx: Connection,
    query: PageQuery,
    *,
    status: JobStatus | None,
    job_type: str | None,
    client_id: str | None,
    miner_id: str | None,
) -> Page[JobRead]:
    """All clients' jobs, newest first."""
    wanted = {jobs.c.job_type: job_type, jobs.c.client_id: client_id, jobs.c.miner_id: miner_id}
    conditions = [column == value for column, value in wanted.items() if value is not None]
    if status is not None:
        # Written out, as the conditions of partial indexes are.
        conditions.append(jobs.c.status == literal_column(f"'{status}'"))
    if status == JobStatus.RUNNING:
        # All that has a live lease, and the few of them are found at once behind a million that wait.
        conditions.append(jobs.c.id.in_(select(attempts.c.job_id).where(text(LIVE))))
    return service.page_where(tx, query, *conditions)


def _lock(tx: Connection, job_id: str) -> Row[Any]:
    job = lock_job(tx, job_id) if is_id(job_id) else None
    if job is None:
        raise JobNotFound
    return job
