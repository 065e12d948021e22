"""Checkpoints: what the coordinator has signed of its log, in the form of https://c2sp.org/tlog-checkpoint."""

import base64
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from sqlalchemy import Connection, Row, bindparam, insert, select

from aitbc_verify.checkpoints import note_key_id
from aitbc_verify.keys import Ed25519Key, read_key
from coordinator.core import clock
from coordinator.core.database import database, take_turn
from coordinator.receipts import log
from coordinator.receipts.keys import publish_signing_key
from coordinator.receipts.models import receipt_log_checkpoints, receipt_log_origin
from coordinator.receipts.signing import Signer, receipt_signer
from coordinator.receipts.tree import Span

_LATEST = select(receipt_log_checkpoints).order_by(receipt_log_checkpoints.c.size.desc()).limit(1)
_OF_SIZE = select(receipt_log_checkpoints).where(receipt_log_checkpoints.c.size == bindparam("wanted"))
_ORIGIN = select(receipt_log_origin.c.origin)


class Checkpoint(NamedTuple):
    """A signed note over the tree of so many entries; the root's hash in hexadecimal digits."""

    size: int
    root_hash: str
    note: str
    created_us: int


class _Unsigned(NamedTuple):
    origin: str
    size: int
    root: bytes


def latest(tx: Connection) -> Checkpoint | None:
    return _read(tx.execute(_LATEST).first())


def of_size(tx: Connection, size: int) -> Checkpoint | None:
    """The checkpoint that was signed at this size, None if none was."""
    return _read(tx.execute(_OF_SIZE, {"wanted": size}).first())


def newest() -> Checkpoint:
    """The checkpoint of all that the log has, signed now unless it was before.

    What is signed was committed before, so it can't be undone; and it is signed outside of any transaction, as the
    signer may be remote. Of two processes that sign at once, one keeps its checkpoint and the other takes that.

    Raises:
        SigningUnavailable: it can't be signed at the moment.
    """
    unsigned = database().read(_state)
    if isinstance(unsigned, Checkpoint):
        return unsigned
    # Before the signature, so that whoever sees it finds its key.
    publish_signing_key()
    note = signed_note(unsigned.origin, unsigned.size, unsigned.root, receipt_signer())
    return database().write(lambda tx: _keep(tx, unsigned, note))


def signed_note(origin: str, size: int, root: bytes, signer: Signer) -> str:
    text = f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"
    key = read_key(signer.public_jwk)
    signature = signer.sign(text.encode())
    if not isinstance(key, Ed25519Key):
        # Notes have them as ASN.1, unlike JOSE.
        half = len(signature) // 2
        signature = encode_dss_signature(int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))
    return f"{text}\n\u2014 {origin} {base64.b64encode(note_key_id(origin, key) + signature).decode()}\n"


def _state(tx: Connection) -> Checkpoint | _Unsigned:
    """The last checkpoint, or what a new one has to say if the log has grown since."""
    last, size = latest(tx), log.size(tx)
    if last is not None and last.size >= size:
        return last
    [root] = log.roots(tx, [Span(0, size)])
    return _Unsigned(tx.execute(_ORIGIN).scalar_one(), size, root)


def _keep(tx: Connection, signed: _Unsigned, note: str) -> Checkpoint:
    """Keeps a checkpoint unless there is one of its size or a larger one; only what is kept is ever shown."""
    take_turn(tx, log.TURN)
    last = latest(tx)
    if last is not None and last.size >= signed.size:
        return last
    kept = Checkpoint(signed.size, signed.root.hex(), note, clock.now_us(tx))
    tx.execute(insert(receipt_log_checkpoints), kept._asdict())
    return kept


def _read(row: Row[tuple[int, str, str, int]] | None) -> Checkpoint | None:
    return None if row is None else Checkpoint(**row._mapping)  # noqa: SLF001  (its public name)
