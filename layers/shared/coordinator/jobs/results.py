"""Taking a miner's answer: from the holder of the lease, once, with a receipt in the same transaction."""

import base64
import binascii
import math
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection, Row

from coordinator.core import clock
from coordinator.core.canonical import canonical_json, sha256_hex
from coordinator.core.errors import InvalidInput
from coordinator.core.ids import is_id
from coordinator.jobs.errors import BadSignature, JobCancelled, JobNotFound, LeaseLost, ResultConflict
from coordinator.jobs.leases import attempt_of
from coordinator.jobs.lifecycle import (
    Outcome,
    complete_job,
    end_attempt,
    end_live_attempt,
    fail_job,
    lock_job,
    return_job,
)
from coordinator.jobs.schemas import FINISHED, JobStatus, ResultCreate, ResultRead
from coordinator.miners import service as miners_service
from coordinator.receipts import service as receipts
from coordinator.receipts.service import Statement

_SALVAGEABLE = frozenset({Outcome.EXPIRED, Outcome.RELEASED})
_MAX_UNIT_TYPE_LENGTH = 64


class Answered(NamedTuple):
    result: ResultRead
    # The same answer was taken before; nothing has changed now.
    repeated: bool


def answer(tx: Connection, owner_id: str, miner_id: str | None, body: ResultCreate) -> Answered:
    """Finishes a job, or returns it to the queue after a failure that may pass.

    An answer that comes after its lease has ended is taken as long as no other miner holds the job and the job is
    not finished: the work is done, so nobody needs to do it again.

    Raises:
        JobNotFound: the miner never held this job.
        JobCancelled: the client has cancelled it.
        ResultConflict: the miner has answered before, otherwise.
        LeaseLost: the lease is stale and the job is held by another miner or finished.
        BadSignature: the miner has a public key and the signature is missing or wrong; the lease stays.
    """
    given = _Answer.of(body)
    miner = miners_service.acting(tx, owner_id, miner_id, registered=False, lookup=miners_service.READ)
    job = lock_job(tx, body.job_id) if is_id(body.job_id) else None
    if job is None:
        raise JobNotFound
    attempt = attempt_of(tx, miner.id, body.job_id, body.lease_token)
    if attempt.answer_sha256 is not None:
        return _repeated(tx, job, attempt, given)
    if job.error_code == "CANCELLED":
        raise JobCancelled
    if not _may_answer(job, attempt, miner.id):
        raise LeaseLost
    _check_signature(miner, attempt, given, body.signature)
    return Answered(_accept(tx, miner, job, attempt, body, given), repeated=False)


class _Answer(NamedTuple):
    result_json: str
    sha256: str
    failed: bool

    @classmethod
    def of(cls, body: ResultCreate) -> "_Answer":
        if body.status == "failed" and body.error is None:
            raise InvalidInput.at("body", "error", message="needed when status is failed", kind="missing")
        try:
            result_json = canonical_json(body.result)
        except ValueError as error:
            raise InvalidInput.at("body", "result", message=str(error), kind="not_canonical_json") from error
        error_body = body.error.model_dump() if body.error and body.status == "failed" else None
        whole = canonical_json([body.status, sha256_hex(result_json), error_body])
        return cls(result_json, sha256_hex(whole), body.status == "failed")


def _may_answer(job: Row[Any], attempt: Row[Any], miner_id: str) -> bool:
    if job.status in FINISHED:
        return False
    if attempt.ended_us is None:
        return True
    held_by_another = job.status == JobStatus.RUNNING and job.miner_id != miner_id
    return attempt.outcome in _SALVAGEABLE and not held_by_another


def _repeated(tx: Connection, job: Row[Any], attempt: Row[Any], given: _Answer) -> Answered:
    if attempt.answer_sha256 != given.sha256:
        raise ResultConflict
    receipt = receipts.of_job(tx, job.id) if attempt.outcome == Outcome.COMPLETED else None
    return Answered(ResultRead(job_id=job.id, status=job.status, receipt=receipt), repeated=True)


def _accept(
    tx: Connection, miner: Row[Any], job: Row[Any], attempt: Row[Any], body: ResultCreate, given: _Answer
) -> ResultRead:
    now = job.now_us
    if attempt.ended_us is not None:
        # The miner answers by an older lease while it holds the job again: that newer lease ends with it.
        end_live_attempt(tx, job.id, Outcome.RELEASED, now)
    outcome = Outcome.FAILED if given.failed else Outcome.COMPLETED
    end_attempt(tx, job.id, attempt.attempt, outcome, now, answer_sha256=given.sha256)
    if body.error is not None and given.failed:
        return ResultRead(job_id=job.id, status=_fail(tx, job, body.error, now), receipt=None)
    # The miner may have registered again, at a higher price, since it was given the job.
    price_atoms = min(miner.price_atoms, job.max_price_atoms)
    complete_job(tx, job.id, miner.id, attempt.started_us, price_atoms, now)
    units, unit_type = _units(body.metrics or {}, attempt.started_us, now)
    receipt = receipts.issue(
        tx,
        Statement(
            job_id=job.id,
            attempt=attempt.attempt,
            job_type=job.job_type,
            client_id=job.client_id,
            miner_id=miner.id,
            miner_address=miner.address,
            parameters_sha256=job.parameters_sha256,
            result_sha256=sha256_hex(given.result_json),
            units=units,
            unit_type=unit_type,
            price_atoms=price_atoms,
            started_us=attempt.started_us,
            completed_us=now,
            miner_signature=body.signature if miner.public_key else None,
        ),
        given.result_json,
    )
    return ResultRead(job_id=job.id, status=JobStatus.COMPLETED, receipt=receipt)


def _fail(tx: Connection, job: Row[Any], error: Any, now_us: int) -> JobStatus:
    if error.retryable and job.attempts < job.max_attempts:
        return return_job(tx, job, now_us)
    fail_job(tx, job.id, error.code, error.message, now_us)
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


def _check_signature(miner: Row[Any], attempt: Row[Any], given: _Answer, signature: str | None) -> None:
    """A miner with a public key signs what it delivers; a failure delivers nothing, so there it may be left out."""
    if miner.public_key is None or (given.failed and signature is None):
        return
    message = f"{attempt.job_id}.{attempt.lease_token}.{sha256_hex(given.result_json)}"
    try:
        Ed25519PublicKey.from_public_bytes(_base64url(miner.public_key)).verify(
            _base64url(signature or ""), message.encode()
        )
    except (InvalidSignature, binascii.Error, ValueError) as error:
        raise BadSignature from error


def _base64url(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
