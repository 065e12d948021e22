"""How a job and its attempts change state: every change of the other modules goes through here, and with it the money.

A job is locked before its attempts, and the accounts of the ledger last, so that two transactions never wait for each
other.
"""

from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, delete, select, text, update

from coordinator.core.clock import NowUs
from coordinator.core.prepared import Prepared
from coordinator.jobs.errors import JobFinished
from coordinator.jobs.models import FINISHED, HELD, LIVE, JobStatus, attempts, jobs
from coordinator.ledger.holds import Hold, hold, release, settle

CANCELLED = "CANCELLED"


_LIVE = text(LIVE)
# All that a decision about a job needs, with the time of the decision; its parameters may be a megabyte.
_STATE: Select[Any] = select(
    *[column for column in jobs.c if column.name not in ("parameters", "constraints")], NowUs().label("now_us")
).where(jobs.c.id == bindparam("job_id"))
_LOCK = _STATE.with_for_update()
_LOCK_UNLESS_HELD = _STATE.with_for_update(skip_locked=True)
_THIS_JOB = update(jobs).where(jobs.c.id == bindparam("this_job"))
_THIS_ATTEMPT = update(attempts).where(
    attempts.c.job_id == bindparam("this_job"), attempts.c.attempt == bindparam("this_attempt")
)
_COMPLETE_ATTEMPT = Prepared(_THIS_ATTEMPT)
_COMPLETE_JOB = Prepared(_THIS_JOB)


class Outcome(StrEnum):
    """How an attempt ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    # Given back: the miner registered again, deregistered or fell silent, or an operator took it away.
    RELEASED = "released"
    CANCELLED = "cancelled"


def lock_job(tx: Connection, job_id: str, *, skip_locked: bool = False) -> Row[Any] | None:
    """The job's state, held until the transaction ends; None if it does not exist or is skipped."""
    return tx.execute(_LOCK_UNLESS_HELD if skip_locked else _LOCK, {"job_id": job_id}).first()


def is_over(job: Row[Any]) -> bool:
    """Whether a job is finished, or past its time and so as good as failed, whether or not a sweep came by."""
    return job.status in FINISHED or job.expires_us <= job.now_us


def end_attempt(
    tx: Connection, job_id: str, attempt: int, outcome: Outcome, now_us: int, *, answer_sha256: str | None = None
) -> None:
    end = {"ended_us": now_us, "outcome": outcome, "answer_sha256": answer_sha256}
    tx.execute(_THIS_ATTEMPT, {"this_job": job_id, "this_attempt": attempt, **end})


def end_live_attempt(tx: Connection, job_id: str, outcome: Outcome, now_us: int) -> None:
    live = update(attempts).where(attempts.c.job_id == job_id, _LIVE)
    tx.execute(live.values(ended_us=now_us, outcome=outcome))


def undo_taking(tx: Connection, job_id: str) -> None:
    """Makes it as if a job that has no lease had not been taken; the caller holds its lock."""
    before = {"attempts": jobs.c.attempts - 1, "status": JobStatus.PENDING, "miner_id": None, "started_us": None}
    tx.execute(update(jobs).where(jobs.c.id == job_id).values(before))


def undo_lease(tx: Connection, job_id: str, lease_token: str) -> None:
    """Makes it as if this lease, of which nobody was told, had never been; unless it has ended."""
    if lock_job(tx, job_id) is None:
        return
    lease = delete(attempts).where(attempts.c.job_id == job_id, attempts.c.lease_token == lease_token, _LIVE)
    if tx.execute(lease).rowcount:
        undo_taking(tx, job_id)


def return_job(tx: Connection, job: Row[Any], now_us: int) -> JobStatus:
    """Puts a job whose attempt has ended back into the queue, or fails it when its attempts are used up."""
    if job.attempts >= job.max_attempts:
        fail_job(tx, job, "ATTEMPTS_EXHAUSTED", f"None of {job.attempts} attempts brought a result.", now_us)
        return JobStatus.FAILED
    back = {"status": JobStatus.PENDING, "miner_id": None, "started_us": None, "updated_us": now_us}
    tx.execute(_THIS_JOB, {"this_job": job.id, **back})
    return JobStatus.PENDING


def fail_job(tx: Connection, job: Row[Any], code: str, message: str, now_us: int) -> None:
    """Ends a job that is not finished; what was held for it is its payer's again."""
    failed = {
        "status": JobStatus.FAILED,
        "error_code": code,
        "error_message": message,
        "completed_us": now_us,
        "updated_us": now_us,
    }
    tx.execute(_THIS_JOB, {"this_job": job.id, **failed})
    if job.max_price_atoms:
        release(tx, _held(job), now_us)


def cancel_job(tx: Connection, job: Row[Any], message: str) -> bool:
    """Fails a job that is not finished; False if it was cancelled before, then it stays as it is.

    Raises:
        JobFinished: it is finished, and not by having been cancelled; or it is past its time, and as good as failed.
    """
    if job.error_code == CANCELLED:
        return False
    if is_over(job):
        status = job.status if job.status in FINISHED else JobStatus.FAILED
        raise JobFinished("The job is finished and can't be cancelled.", status=status)
    end_live_attempt(tx, job.id, Outcome.CANCELLED, job.now_us)
    fail_job(tx, job, CANCELLED, message, job.now_us)
    return True


def requeue_job(tx: Connection, job: Row[Any], expires_us: int) -> None:
    """Puts a job that is not completed back into the queue; if its attempts are used up, it gets one more.

    What was given back when it failed is held once more; if the payer has spent it, the transaction fails with
    `InsufficientFunds` when it ends.
    """
    again = bool(job.max_price_atoms) and job.status == JobStatus.FAILED
    end_live_attempt(tx, job.id, Outcome.RELEASED, job.now_us)
    unset = dict.fromkeys(("miner_id", "started_us", "completed_us", "error_code", "error_message"))
    back = {
        "status": JobStatus.PENDING,
        "max_attempts": max(job.max_attempts, job.attempts + 1),
        "holds": job.holds + again,
        "expires_us": expires_us,
        "updated_us": job.now_us,
    }
    tx.execute(_THIS_JOB, {"this_job": job.id, **unset, **back})
    if again:
        hold(tx, _held(job)._replace(number=job.holds + 1), job.now_us)


def complete_job(
    tx: Connection,
    job: Row[Any],
    attempt: int,
    *,
    miner_id: str,
    address: str,
    started_us: int,
    answer_sha256: str,
    price_atoms: int,
    now_us: int,
) -> None:
    """Ends an attempt and with it the job; its price goes to the wallet at the miner's address."""
    completed = {
        "status": JobStatus.COMPLETED,
        "miner_id": miner_id,
        "price_atoms": price_atoms,
        "started_us": started_us,
        "completed_us": now_us,
        "updated_us": now_us,
    }
    ended = {"ended_us": now_us, "outcome": Outcome.COMPLETED, "answer_sha256": answer_sha256}
    _COMPLETE_ATTEMPT.later(tx, {"this_job": job.id, "this_attempt": attempt, **ended})
    _COMPLETE_JOB.later(tx, {"this_job": job.id, **completed})
    if job.max_price_atoms:
        settle(tx, _held(job), price_atoms, address, now_us)


def _held(job: Row[Any]) -> Hold:
    return Hold(job.id, job.holds, job.payer_id, job.max_price_atoms)


def release_leases(tx: Connection, miner_id: str, now_us: int, *, skip_locked: bool = False) -> None:
    """Returns all jobs that a miner holds."""
    held = select(attempts.c.job_id).where(attempts.c.miner_id == miner_id, text(HELD)).order_by(attempts.c.job_id)
    for job_id in tx.scalars(held).all():
        end_lease(tx, job_id, Outcome.RELEASED, now_us, miner_id=miner_id, skip_locked=skip_locked)


def end_lease(
    tx: Connection,
    job_id: str,
    outcome: Outcome,
    now_us: int,
    *,
    miner_id: str | None = None,
    expired_only: bool = False,
    skip_locked: bool = False,
) -> bool:
    """Ends the live lease of a job and returns the job to the queue.

    What was read before the job was locked may have changed since, so the conditions are checked again here.
    """
    job = lock_job(tx, job_id, skip_locked=skip_locked)
    if job is None:
        return False
    still = update(attempts).where(attempts.c.job_id == job_id, _LIVE)
    if miner_id is not None:
        still = still.where(attempts.c.miner_id == miner_id)
    if expired_only:
        still = still.where(attempts.c.lease_expires_us <= now_us)
    ended = tx.execute(still.values(ended_us=now_us, outcome=outcome)).rowcount == 1
    if ended:
        return_job(tx, job, now_us)
    return ended
