"""What clients do with jobs: submit, follow, fetch, cancel."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Connection, RowMapping, Select, and_, bindparam, insert, select

from coordinator.core import clock
from coordinator.core.canonical import canonical_field, canonical_json, sha256_hex
from coordinator.core.config import settings
from coordinator.core.database import database
from coordinator.core.errors import Forbidden
from coordinator.core.ids import is_id, new_id
from coordinator.core.money import format_aitbc
from coordinator.core.pages import fetch_page
from coordinator.core.prepared import Later, Prepared
from coordinator.core.schemas import Page, PageQuery
from coordinator.jobs.classes import eligible_miners, ensure_class, requirements_of
from coordinator.jobs.errors import InvalidJobType, JobNotFound, JobNotReady
from coordinator.jobs.expiry import end_overdue, is_overdue
from coordinator.jobs.lifecycle import cancel_job, lock_job
from coordinator.jobs.models import CHARACTERS, FINISHED, JobStatus, attempts, jobs
from coordinator.jobs.schemas import JobCreate, JobError, JobRead, JobResultRead, JobStatusRead, Progress
from coordinator.ledger.holds import Hold, hold
from coordinator.receipts import service as receipts
from coordinator.receipts.schemas import ReceiptRead

_FIRST_LOOK_SECONDS = 0.05
_LONGEST_LOOK_SECONDS = 1.0


class Submitted(NamedTuple):
    """A new job, which may still have to be committed."""

    id: str
    row: dict[str, Any]
    inserted: Later

    @property
    def created_us(self) -> int:
        return int(self.inserted.rows()[0].created_us)

    def read(self) -> JobRead:
        """The job as its client sees it. Before the commit this takes a trip to the database."""
        created_us = self.created_us
        times = {"created_us": created_us, "updated_us": created_us, "expires_us": created_us + _ttl_us(self.row)}
        return _read({**_UNSET, **self.row, **times})


def submit(tx: Connection, client_id: str, body: JobCreate, *, user_id: str | None = None) -> Submitted:
    """Puts a job into the queue, and holds what it may cost of the balance of the user whose key the client has.

    Raises:
        InvalidJobType: it is not one of JOB_TYPES.
        Forbidden: it names a price, but its key belongs to no user whose balance could pay.
        InsufficientFunds: the balance does not cover the price; raised when the transaction ends.
        InvalidInput: the parameters can't be written as canonical JSON.
        PayloadTooLarge: in canonical JSON they are larger than a body may be.
    """
    if body.job_type not in settings().job_types:
        raise InvalidJobType(f"There is no job type {body.job_type!r}.", supported=list(settings().job_types))
    payer_id = user_id if body.max_price else None
    if body.max_price and payer_id is None:
        raise Forbidden("Only keys that belong to a user may set max_price.")
    parameters = canonical_field("parameters", body.parameters)
    constraints = body.constraints.model_dump(exclude_none=True)
    row: dict[str, Any] = {
        "id": new_id(),
        "client_id": client_id,
        "class_number": ensure_class(tx, requirements_of(body.job_type, constraints)),
        "job_type": body.job_type,
        "priority": body.priority,
        "max_price_atoms": body.max_price or 0,
        "payer_id": payer_id,
        "holds": 0 if payer_id is None else 1,
        "ttl_seconds": body.ttl_seconds,
        "timeout_seconds": body.timeout_seconds,
        "max_attempts": body.max_attempts,
        "status": JobStatus.PENDING,
        "attempts": 0,
        "constraints": canonical_json(constraints),
        "parameters_sha256": sha256_hex(parameters),
        "parameters": parameters,
    }
    job = Submitted(row["id"], row, _insert(tx, row))
    if payer_id is not None:
        hold(tx, Hold(job.id, row["holds"], payer_id, row["max_price_atoms"]), job.created_us)
    return job


_NOW = clock.STATEMENT_NOW_US_POSTGRES
_TTL = bindparam("ttl_us", type_=BigInteger)
# On Postgres the time comes with the statement that needs it, not by one of its own.
_INSERT = Prepared(
    insert(jobs).values(created_us=_NOW, updated_us=_NOW, expires_us=_NOW + _TTL).returning(jobs.c.created_us),
    sqlite=insert(jobs).returning(jobs.c.created_us),
)


def _insert(tx: Connection, row: dict[str, Any]) -> Later:
    if tx.dialect.name == "postgresql":
        return _INSERT.later(tx, {**row, "ttl_us": _ttl_us(row)})
    now = clock.machine_now_us()
    return _INSERT.later(tx, {**row, "created_us": now, "updated_us": now, "expires_us": now + _ttl_us(row)})


def _ttl_us(row: dict[str, Any]) -> int:
    return int(row["ttl_seconds"]) * clock.SECOND_US


def get(client_id: str, job_id: str) -> JobRead:
    return _read(_current(client_id, job_id))


def page(
    tx: Connection, client_id: str, query: PageQuery, status: JobStatus | None, job_type: str | None
) -> Page[JobRead]:
    """A client's jobs, newest first."""
    mine = [jobs.c.client_id == client_id]
    if status is not None:
        mine.append(jobs.c.status == status)
    if job_type is not None:
        mine.append(jobs.c.job_type == job_type)
    return page_where(tx, query, *mine)


def page_where(tx: Connection, query: PageQuery, *conditions: ColumnElement[bool]) -> Page[JobRead]:
    """The jobs that meet all conditions, newest first."""
    rows, next_cursor = fetch_page(tx, _WITH_ATTEMPT.where(*conditions), jobs.c.id, query, characters=CHARACTERS)
    return Page(items=[_read(row._asdict()) for row in rows], next_cursor=next_cursor)


def read_job(tx: Connection, job_id: str) -> JobRead:
    """A job that exists, as this transaction sees it."""
    return _read(tx.execute(_WITH_ATTEMPT.where(jobs.c.id == job_id)).mappings().one())


async def status(client_id: str, job_id: str, wait_seconds: float) -> JobStatusRead:
    """The state of a job, as soon as it differs from the present one or the time is up."""
    first = _current(client_id, job_id)

    def changed(job: RowMapping) -> bool:
        # It may have been taken and come back between two looks.
        return any(job[name] != first[name] for name in ("status", "attempts")) or job["status"] in FINISHED

    job = await _wait_for(client_id, job_id, wait_seconds, changed)
    able = database().read(lambda tx: eligible_miners(tx, job["class_number"], job["max_price_atoms"]))
    return JobStatusRead(
        id=job_id,
        status=job["status"],
        progress=_progress(job),
        attempts=job["attempts"],
        eligible_miners=able,
        error=_error(job),
        updated_at=clock.rfc3339(job["updated_us"]),
    )


async def result(client_id: str, job_id: str, wait_seconds: float) -> JobResultRead:
    """The outcome of a finished job.

    Raises:
        JobNotReady: it was not finished when the time was up.
    """
    job = await _wait_for(client_id, job_id, wait_seconds, lambda job: job["status"] in FINISHED)
    if job["status"] not in FINISHED:
        raise JobNotReady(status=job["status"])
    receipt = database().read(lambda tx: receipts.of_job(tx, job_id))
    return JobResultRead(
        job_id=job_id,
        status=job["status"],
        result=receipt.result if receipt else None,
        receipt=receipt,
        error=_error(job),
    )


def receipts_of(client_id: str, job_id: str) -> Page[ReceiptRead]:
    """The receipts of a job: one once it is completed, none before."""
    _current(client_id, job_id)
    receipt = database().read(lambda tx: receipts.of_job(tx, job_id))
    return Page(items=[receipt] if receipt else [], next_cursor=None)


def cancel(tx: Connection, client_id: str, job_id: str) -> JobRead:
    """Fails a job that is not finished; its miner, if any, learns of it with its next call.

    Raises:
        JobNotFound: this client has no such job.
        JobFinished: it is finished, and not by having been cancelled.
    """
    job = lock_job(tx, job_id) if is_id(job_id) else None
    if job is None or job.client_id != client_id:
        raise JobNotFound
    cancel_job(tx, job, "The client cancelled the job.")
    return read_job(tx, job_id)


# A job with the attempt that is running, or ran last.
_WITH_ATTEMPT: Select[Any] = select(
    jobs,
    attempts.c.progress_percent,
    attempts.c.progress_message,
    attempts.c.lease_expires_us,
    attempts.c.ended_us,
).outerjoin(attempts, and_(attempts.c.job_id == jobs.c.id, attempts.c.attempt == jobs.c.attempts))
_UNSET = dict.fromkeys(("miner_id", "price_atoms", "error_code", "error_message", "started_us", "completed_us")) | {
    "progress_percent": 0.0,
    "progress_message": None,
}


def _current(client_id: str, job_id: str) -> RowMapping:
    """A client's job as it is now: what the clock has ended is ended first, whether or not a sweep came by.

    Raises:
        JobNotFound: this client has no such job.
    """
    job, overdue = database().read(lambda tx: _load(tx, client_id, job_id))
    if overdue:
        database().write(lambda tx: end_overdue(tx, job_id, clock.now_us(tx)))
        job, _ = database().read(lambda tx: _load(tx, client_id, job_id))
    return job


def _load(tx: Connection, client_id: str, job_id: str) -> tuple[RowMapping, bool]:
    found = tx.execute(_WITH_ATTEMPT.where(jobs.c.id == job_id)).mappings().first() if is_id(job_id) else None
    if found is None or found["client_id"] != client_id:
        raise JobNotFound
    return found, found["status"] not in FINISHED and is_overdue(found, clock.now_us(tx))


async def _wait_for(
    client_id: str, job_id: str, wait_seconds: float, arrived: Callable[[RowMapping], bool]
) -> RowMapping:
    """Looks at a job until it has arrived or the time is up; between looks no transaction is open."""
    until = time.monotonic() + wait_seconds
    pause = _FIRST_LOOK_SECONDS
    while True:
        job = _current(client_id, job_id)
        left = until - time.monotonic()
        if left <= 0 or arrived(job):
            return job
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 1.5, _LONGEST_LOOK_SECONDS)


def _read(job: Mapping[Any, Any]) -> JobRead:
    return JobRead(
        id=job["id"],
        client_id=job["client_id"],
        job_type=job["job_type"],
        parameters=json.loads(job["parameters"]),
        constraints=json.loads(job["constraints"]),
        priority=job["priority"],
        status=job["status"],
        progress=_progress(job),
        attempts=job["attempts"],
        max_attempts=job["max_attempts"],
        miner_id=job["miner_id"],
        error=_error(job),
        max_price=format_aitbc(job["max_price_atoms"]) if job["max_price_atoms"] else None,
        price=None if job["price_atoms"] is None else format_aitbc(job["price_atoms"]),
        ttl_seconds=job["ttl_seconds"],
        timeout_seconds=job["timeout_seconds"],
        created_at=clock.rfc3339(job["created_us"]),
        updated_at=clock.rfc3339(job["updated_us"]),
        started_at=_time(job["started_us"]),
        completed_at=_time(job["completed_us"]),
        expires_at=clock.rfc3339(job["expires_us"]),
    )


def _progress(job: Mapping[Any, Any]) -> Progress:
    if job["status"] == JobStatus.COMPLETED:
        return Progress(percent=100.0, message=job["progress_message"])
    if job["status"] == JobStatus.PENDING:
        return Progress(percent=0.0, message=None)
    return Progress(percent=job["progress_percent"] or 0.0, message=job["progress_message"])


def _error(job: Mapping[Any, Any]) -> JobError | None:
    if job["error_code"] is None:
        return None
    return JobError(code=job["error_code"], message=job["error_message"] or "")


def _time(us: int | None) -> str | None:
    return None if us is None else clock.rfc3339(us)
