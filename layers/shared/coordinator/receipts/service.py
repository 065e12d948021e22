"""Receipts: the signed statement of every completed job, and the keys that verify it."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select

from coordinator.core import clock
from coordinator.core.config import from_secrets
from coordinator.core.database import database, insert_new
from coordinator.core.money import format_aitbc
from coordinator.core.pages import fetch_page
from coordinator.core.prepared import Prepared
from coordinator.core.schemas import Page, PageQuery
from coordinator.receipts.errors import SigningUnavailable
from coordinator.receipts.jws import sign_compact
from coordinator.receipts.models import receipts, signing_keys
from coordinator.receipts.pen import Pen
from coordinator.receipts.schemas import ReceiptRead
from coordinator.receipts.signing import receipt_signer

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


def of_job(tx: Connection, job_id: str) -> ReceiptRead | None:
    row = tx.execute(select(receipts).where(receipts.c.job_id == job_id)).mappings().first()
    return read(row) if row else None


def page(
    tx: Connection, query: PageQuery, *, miner_id: str | None, client_id: str | None, job_id: str | None
) -> Page[ReceiptRead]:
    """All receipts, newest first."""
    wanted = {receipts.c.miner_id: miner_id, receipts.c.client_id: client_id, receipts.c.job_id: job_id}
    conditions = [column == value for column, value in wanted.items() if value is not None]
    rows, next_cursor = fetch_page(tx, select(receipts).where(*conditions), receipts.c.id, query)
    return Page(items=[read(row._asdict()) for row in rows], next_cursor=next_cursor)


def read(row: Mapping[Any, Any]) -> ReceiptRead:
    return ReceiptRead(
        id=row["id"],
        job_id=row["job_id"],
        miner_id=row["miner_id"],
        client_id=row["client_id"],
        result=json.loads(row["result"]),
        result_sha256=row["result_sha256"],
        parameters_sha256=row["parameters_sha256"],
        units=row["units"],
        unit_type=row["unit_type"],
        price=format_aitbc(row["price_atoms"]),
        started_at=clock.rfc3339(row["started_us"]),
        completed_at=clock.rfc3339(row["completed_us"]),
        proof=row["proof"],
        created_at=clock.rfc3339(row["created_us"]),
    )


@from_secrets
def publish_signing_key() -> None:
    """Adds this process's public key to the published ones, where it stays when the secret changes."""
    signer = receipt_signer()
    jwk = json.dumps(signer.public_jwk)
    database().write(
        lambda tx: insert_new(tx, signing_keys, {"kid": signer.kid, "jwk": jwk, "created_us": clock.now_us(tx)})
    )


def published_keys() -> list[dict[str, str]]:
    """All public keys that have ever signed receipts as JWKs (RFC 7517), oldest first."""
    # Not to be asked now, the key has signed nothing that is not yet published.
    with suppress(SigningUnavailable):
        publish_signing_key()
    keys = select(signing_keys.c.jwk).order_by(signing_keys.c.created_us, signing_keys.c.kid)
    return database().read(lambda tx: [json.loads(jwk) for jwk in tx.scalars(keys)])


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
