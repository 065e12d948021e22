"""Taking a miner's answer: from the holder of the lease, once, with a receipt and its pay in the same transaction."""

import math
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, bindparam, select, text

from aitbc_verify.receipts import miner_has_signed
from coordinator.core import clock
from coordinator.core.canonical import canonical_field, canonical_json, sha256_hex
from coordinator.core.errors import InvalidInput
from coordinator.core.ids import is_id
from coordinator.core.prepared import Prepared
from coordinator.jobs.errors import BadSignature, JobCancelled, JobNotFound, LeaseLost, ResultConflict
from coordinator.jobs.lease_schemas import ResultCreate, ResultRead
from coordinator.jobs.leases import is_meant
from coordinator.jobs.lifecycle import (
    CANCELLED,
    Outcome,
    complete_job,
    end_attempt,
    end_live_attempt,
    fail_job,
    is_over,
    return_job,
)
from coordinator.jobs.models import LIVE, JobStatus, attempts, jobs
from coordinator.miners import service as miners_service
from coordinator.miners.errors import MinerDisabled
from coordinator.miners.models import miners
from coordinator.receipts import service as receipts
from coordinator.receipts.issuing import Statement, issue
from coordinator.receipts.pen import Pen

_SALVAGEABLE = frozenset({Outcome.EXPIRED, Outcome.RELEASED})
_MAX_UNIT_TYPE_LENGTH = 64


class Answered(NamedTuple):
    result: ResultRead
    # The same answer was taken before; nothing has changed now.
    repeated: bool


def answer(tx: Connection, owner_id: str, miner_id: str | None, body: ResultCreate, pen: Pen | None = None) -> Answered:
    """Finishes a job, or returns it to the queue after a failure that may pass.

    An answer that comes after its lease has ended is taken as long as no other miner holds the job and the job is
    not finished: the work is done, so nobody needs to do it again. The receipt is signed with the pen, which is needed
    where the signer is remote.

    Raises:
        JobNotFound: the miner never held this job.
        JobCancelled: the client has cancelled it.
        ResultConflict: the miner has answered before, otherwise.
        LeaseLost: the lease is stale and the job is held by another miner or finished.
        BadSignature: the miner has a public key and the signature is missing or wrong; the lease stays.
    """
    given = _Answer.of(body)
    held = _lock_held(tx, owner_id, miner_id, body)
    if held.answer_sha256 is not None:
        return _repeated(tx, held, given)
    if held.error_code == CANCELLED:
        raise JobCancelled
    if not _may_answer(tx, held):
        raise LeaseLost
    _check_signature(held, given, body.signature)
    return Answered(_accept(tx, held, body, given, pen or Pen()), repeated=False)


# A job, the attempts at it of one miner, the latest first, and what a receipt says of that miner; locked in this order.
_HELD = Prepared(
    select(
        *(jobs.c[name] for name in ("id", "client_id", "job_type", "status", "error_code", "parameters_sha256")),
        *(jobs.c[name] for name in ("attempts", "max_attempts", "max_price_atoms", "payer_id", "holds", "expires_us")),
        jobs.c.miner_id.label("holder_id"),
        *(attempts.c[name] for name in ("attempt", "lease_token", "ended_us", "outcome", "answer_sha256")),
        attempts.c.miner_id,
        attempts.c.started_us,
        *(miners.c[name] for name in ("owner_id", "address", "price_atoms", "public_key", "disabled")),
        clock.NowUs().label("now_us"),
    )
    .join(attempts, attempts.c.job_id == jobs.c.id)
    .join(miners, miners.c.id == attempts.c.miner_id)
    .where(jobs.c.id == bindparam("job_id"), attempts.c.miner_id == bindparam("miner_id"))
    .order_by(attempts.c.attempt.desc())
    .with_for_update(of=[jobs, attempts])
)


def _lock_held(tx: Connection, owner_id: str, miner_id: str | None, body: ResultCreate) -> Any:
    """The job and the attempt that a miner speaks of: the one with its token, else its latest."""
    if not is_id(miner_id or ""):
        miner_id = miners_service.acting(tx, owner_id, miner_id, registered=False, lookup=miners_service.READ).id
    keys = {"job_id": body.job_id, "miner_id": miner_id}
    rows = _HELD.rows(tx, keys) if is_id(body.job_id) else []
    mine = [held for held in rows if held.owner_id == owner_id]
    if not mine:
        miners_service.acting(tx, owner_id, miner_id, registered=False, lookup=miners_service.READ)
        raise JobNotFound
    if mine[0].disabled:
        raise MinerDisabled
    for held in mine:
        if is_meant(held, body.lease_token):
            return held
    raise LeaseLost


class _Answer(NamedTuple):
    result_json: str
    result_sha256: str
    # Of the whole answer.
    sha256: str
    failed: bool

    @classmethod
    def of(cls, body: ResultCreate) -> "_Answer":
        if body.status == "failed" and body.error is None:
            raise InvalidInput.at("body", "error", message="needed when status is failed", kind="missing")
        result_json = canonical_field("result", body.result)
        error_body = body.error.model_dump() if body.error and body.status == "failed" else None
        result_sha256 = sha256_hex(result_json)
        whole = canonical_json([body.status, result_sha256, error_body])
        return cls(result_json, result_sha256, sha256_hex(whole), body.status == "failed")


def _may_answer(tx: Connection, held: Row[Any]) -> bool:
    if is_over(held):
        return False
    if held.ended_us is None:
        return True
    return held.outcome in _SALVAGEABLE and not _held_by_another(tx, held)


# Locked, as its holder may be about to renew it.
_LIVE_LEASE = (
    select(attempts.c.lease_expires_us).where(attempts.c.job_id == bindparam("job_id"), text(LIVE)).with_for_update()
)


def _held_by_another(tx: Connection, held: Row[Any]) -> bool:
    if held.status != JobStatus.RUNNING or held.holder_id == held.miner_id:
        return False
    expires_us = tx.scalar(_LIVE_LEASE, {"job_id": held.id})
    return expires_us is not None and expires_us > held.now_us


def _repeated(tx: Connection, held: Row[Any], given: _Answer) -> Answered:
    if held.answer_sha256 != given.sha256:
        raise ResultConflict
    receipt = receipts.of_job(tx, held.id) if held.outcome == Outcome.COMPLETED else None
    return Answered(ResultRead(job_id=held.id, status=held.status, receipt=receipt), repeated=True)


def _accept(tx: Connection, held: Row[Any], body: ResultCreate, given: _Answer, pen: Pen) -> ResultRead:
    now = pen.time_us(held.now_us)
    if held.ended_us is not None:
        # The miner answers by an older lease while it holds the job again, or another's lease has expired: that newer
        # lease ends with it.
        outcome = Outcome.RELEASED if held.holder_id == held.miner_id else Outcome.EXPIRED
        end_live_attempt(tx, held.id, outcome, now)
    if body.error is not None and given.failed:
        end_attempt(tx, held.id, held.attempt, Outcome.FAILED, now, answer_sha256=given.sha256)
        return ResultRead(job_id=held.id, status=_fail(tx, held, body.error, now), receipt=None)
    # The miner may have registered again, at a higher price, since it was given the job.
    price_atoms = min(held.price_atoms, held.max_price_atoms)
    complete_job(
        tx,
        held,
        held.attempt,
        miner_id=held.miner_id,
        address=held.address,
        started_us=held.started_us,
        answer_sha256=given.sha256,
        price_atoms=price_atoms,
        now_us=now,
    )
    units, unit_type = _units(body.metrics or {}, held.started_us, now)
    receipt = issue(
        tx,
        Statement(
            job_id=held.id,
            attempt=held.attempt,
            job_type=held.job_type,
            client_id=held.client_id,
            miner_id=held.miner_id,
            miner_address=held.address,
            parameters_sha256=held.parameters_sha256,
            result_sha256=given.result_sha256,
            units=units,
            unit_type=unit_type,
            price_atoms=price_atoms,
            started_us=held.started_us,
            completed_us=now,
            miner_signature=body.signature if held.public_key else None,
            miner_public_key=held.public_key,
            lease_token=held.lease_token if held.public_key else None,
        ),
        given.result_json,
        pen,
    )
    return ResultRead(job_id=held.id, status=JobStatus.COMPLETED, receipt=receipt)


def _fail(tx: Connection, held: Row[Any], error: Any, now_us: int) -> JobStatus:
    if error.retryable and held.attempts < held.max_attempts:
        return return_job(tx, held, now_us)
    fail_job(tx, held, error.code, error.message, now_us)
    return JobStatus.FAILED


def _units(metrics: dict[str, Any], started_us: int, completed_us: int) -> tuple[float, str]:
    """What was delivered, as the miner counts it; else how long it took."""
    units, unit_type = metrics.get("units"), metrics.get("unit_type")
    if units is None:
        return (completed_us - started_us) / clock.SECOND_US, "seconds"
    if isinstance(units, bool) or not isinstance(units, int | float) or not 0 <= units < 2**53 or math.isnan(units):
        raise InvalidInput.at("body", "metrics", "units", message="must be a number from 0 to 2^53", kind="number")
    if unit_type is None:
        unit_type = "units"
    if not isinstance(unit_type, str) or not 0 < len(unit_type) <= _MAX_UNIT_TYPE_LENGTH:
        raise InvalidInput.at("body", "metrics", "unit_type", message="must be a short string", kind="string_type")
    return float(units), unit_type


def _check_signature(held: Row[Any], given: _Answer, signature: str | None) -> None:
    """A miner with a public key signs what it delivers; a failure delivers nothing, so there it may be left out."""
    if held.public_key is None or (given.failed and signature is None):
        return
    if not miner_has_signed(held.public_key, signature or "", held.id, held.lease_token, given.result_sha256):
        raise BadSignature
