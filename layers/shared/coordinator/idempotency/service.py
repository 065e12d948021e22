"""The answers to requests with an Idempotency-Key: stored with their effects, given again for a day, then forgotten."""

import hashlib
import json
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, delete, insert, select, text

from coordinator.core.clock import SECOND_US, NowUs
from coordinator.core.forgetting import delete_old
from coordinator.idempotency.errors import IdempotencyInProgress, IdempotencyKeyReused
from coordinator.idempotency.models import idempotency_keys

KEPT_US = 24 * 3600 * SECOND_US

_THIS = (idempotency_keys.c.principal_id == bindparam("principal_id"), idempotency_keys.c.key == bindparam("key"))
_FIND = select(idempotency_keys, (idempotency_keys.c.created_us > NowUs() - KEPT_US).label("counts")).where(*_THIS)
_STORE = insert(idempotency_keys).values(created_us=NowUs())
_FORGET = delete(idempotency_keys).where(*_THIS)
_TRY_TO_HOLD = text("SELECT pg_try_advisory_xact_lock(:lock)")


class KeyedRequest(NamedTuple):
    principal_id: str
    key: str
    # Of everything that makes it this request and no other.
    sha256: str


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: str


def first_answer(tx: Connection, request: KeyedRequest) -> Answer | None:
    """The answer that this request got when it came first; None if it has come now, and then `store` it here.

    Until the transaction ends nobody else gets past here with this key. SQLite's writers take turns, so there a
    second request waits and finds the answer.

    Raises:
        IdempotencyInProgress: another transaction has got past here with this key.
        IdempotencyKeyReused: the key came with another request.
    """
    names = {"principal_id": request.principal_id, "key": request.key}
    if tx.dialect.name == "postgresql" and not tx.execute(_TRY_TO_HOLD, {"lock": _lock_of(request)}).scalar_one():
        raise IdempotencyInProgress
    # A statement of its own: it sees what was committed before the lock was released.
    found = tx.execute(_FIND, names).first()
    if found is None:
        return None
    if not found.counts:
        tx.execute(_FORGET, names)
        return None
    if found.request_sha256 != request.sha256:
        raise IdempotencyKeyReused
    return Answer(found.status, json.loads(found.headers), found.body)


def store(tx: Connection, request: KeyedRequest, answer: Answer) -> None:
    """Keeps an answer as it will be given again, in the clear.

    An answer that shows a secret only once should therefore not be stored as it is.
    """
    row = {
        "principal_id": request.principal_id,
        "key": request.key,
        "request_sha256": request.sha256,
        "status": answer.status,
        "headers": json.dumps(answer.headers),
        "body": answer.body,
    }
    tx.execute(_STORE, row)


def forget_old(tx: Connection, now_us: int, limit: int) -> int:
    """Deletes answers that are no longer given, `limit` at most, and tells how many."""
    return delete_old(tx, idempotency_keys.c.created_us, now_us - KEPT_US, limit)


def _lock_of(request: KeyedRequest) -> int:
    """A number that nothing else on the server locks, but by a chance of one in 2^64."""
    digest = hashlib.sha256(f"{request.principal_id} {request.key}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
