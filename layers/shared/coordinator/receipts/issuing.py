"""Issuing receipts: the signed statement of every completed job."""

from dataclasses import dataclass

from sqlalchemy import Connection, insert

from coordinator.core import clock
from coordinator.core.money import format_aitbc
from coordinator.core.prepared import Prepared
from coordinator.receipts.jws import sign_compact
from coordinator.receipts.models import receipts
from coordinator.receipts.pen import Pen
from coordinator.receipts.schemas import ReceiptRead
from coordinator.receipts.service import read

_INSERT = Prepared(insert(receipts))

_ISSUER = "aitbc-coordinator"
_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What a receipt states of a job; times in microseconds, price in atoms.

    The last three are what others need to check the miner's own signature; None if the miner has no key. The lease
    token is no secret any more: the lease has ended, and it was good for nothing without the miner's API key.
    """

    job_id: str
    attempt: int
    job_type: str
    client_id: str
    miner_id: str
    miner_address: str
    parameters_sha256: str
    result_sha256: str
    units: float
    unit_type: str
    price_atoms: int
    started_us: int
    completed_us: int
    miner_signature: str | None
    miner_public_key: str | None
    lease_token: str | None


def issue(tx: Connection, statement: Statement, result_json: str, pen: Pen) -> ReceiptRead:
    """Signs the statement and keeps it with the result; the database refuses a second receipt of a job."""
    row = {
        "id": pen.receipt_id,
        "job_id": statement.job_id,
        "attempt": statement.attempt,
        "miner_id": statement.miner_id,
        "client_id": statement.client_id,
        "result": result_json,
        "result_sha256": statement.result_sha256,
        "parameters_sha256": statement.parameters_sha256,
        "units": statement.units,
        "unit_type": statement.unit_type,
        "price_atoms": statement.price_atoms,
        "started_us": statement.started_us,
        "completed_us": statement.completed_us,
        "created_us": statement.completed_us,
        "proof": sign_compact(_payload(pen.receipt_id, statement), pen),
    }
    _INSERT.later(tx, row)
    return read(row)


def _payload(receipt_id: str, statement: Statement) -> dict[str, object]:
    return {
        "iss": _ISSUER,
        "sub": receipt_id,
        "iat": statement.completed_us // clock.SECOND_US,
        "version": _VERSION,
        "job_id": statement.job_id,
        "attempt": statement.attempt,
        "job_type": statement.job_type,
        "client_id": statement.client_id,
        "miner_id": statement.miner_id,
        "miner_address": statement.miner_address,
        "parameters_sha256": statement.parameters_sha256,
        "result_sha256": statement.result_sha256,
        "units": statement.units,
        "unit_type": statement.unit_type,
        "price": format_aitbc(statement.price_atoms),
        "started_at": clock.rfc3339(statement.started_us),
        "completed_at": clock.rfc3339(statement.completed_us),
        "miner_signature": statement.miner_signature,
        "miner_public_key": statement.miner_public_key,
        "lease_token": statement.lease_token,
        # Given when the transparency log takes the receipt in.
        "log_index": None,
    }
