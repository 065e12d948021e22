"""Proofs that the log has a receipt, and that it has only grown."""

from sqlalchemy import Connection, bindparam, select

from coordinator.core import clock
from coordinator.core.database import database
from coordinator.core.ids import is_id
from coordinator.receipts import checkpoints, log
from coordinator.receipts.checkpoints import Checkpoint
from coordinator.receipts.errors import InvalidRange, ReceiptNotFound, ReceiptNotLogged
from coordinator.receipts.models import receipts
from coordinator.receipts.proof_schemas import CheckpointRead, ConsistencyRead, InclusionRead
from coordinator.receipts.tree import Span, consistency_path, inclusion_path

# Small enough that on SQLite nobody waits long for his turn to write.
BATCH = 500
# What a caller who waits for an answer may have taken in, of what waits before his receipt.
_MOST_BATCHES = 4

_EXISTS = select(receipts.c.id).where(receipts.c.id == bindparam("receipt_id"))


def newest_checkpoint() -> CheckpointRead:
    """The checkpoint of all receipts that there are, unless too many of them wait.

    Raises:
        SigningUnavailable: there is a new one to sign, and it can't be signed.
    """
    _catch_up()
    signed = checkpoints.newest()
    return CheckpointRead(
        checkpoint=signed.note,
        tree_size=signed.size,
        root_hash=signed.root_hash,
        created_at=clock.rfc3339(signed.created_us),
    )


def inclusion(receipt_id: str, tree_size: int | None = None) -> InclusionRead:
    """Proves that the log has a receipt, under the latest checkpoint or the one of this size.

    A receipt that still waits is taken in, and a checkpoint that covers it is signed.

    Raises:
        ReceiptNotFound: there is no such receipt.
        ReceiptNotLogged: too many others wait before it.
        InvalidRange: no checkpoint of this size was signed, or the receipt came later.
        SigningUnavailable: no checkpoint covers the receipt, and none can be signed.
    """
    index, signed = database().read(lambda tx: (_place(tx, receipt_id), _checkpoint(tx, tree_size)))
    if index is None:
        _catch_up()
        index = database().read(lambda tx: log.place_of(tx, receipt_id))
        if index is None:
            raise ReceiptNotLogged
    if signed is None or signed.size <= index:
        if tree_size is not None:
            raise InvalidRange("No checkpoint of this size has this receipt.")
        signed = checkpoints.newest()
    spans = [Span(index, index + 1), *inclusion_path(index, signed.size)]
    leaf, *path = database().read(lambda tx: log.roots(tx, spans))
    return InclusionRead(
        log_index=index,
        tree_size=signed.size,
        leaf_hash=leaf.hex(),
        path=[step.hex() for step in path],
        checkpoint=signed.note,
    )


def consistency(older: int, newer: int) -> ConsistencyRead:
    """Proves that a log of `newer` receipts begins with one of `older`.

    Raises:
        InvalidRange: they are in the wrong order, or the log was never signed at such a size.
    """

    def prove(tx: Connection) -> list[bytes]:
        signed = checkpoints.latest(tx)
        largest = signed.size if signed else 0
        if not 0 <= older <= newer <= largest:
            raise InvalidRange(tree_size=largest)
        return log.roots(tx, consistency_path(older, newer))

    path = database().read(prove)
    return ConsistencyRead(older=older, newer=newer, path=[step.hex() for step in path])


def _catch_up() -> None:
    """Takes in what waits, within what a caller can wait for."""
    for _ in range(_MOST_BATCHES):
        if not database().read(log.anything_waits) or database().write(lambda tx: log.take_in(tx, BATCH)) < BATCH:
            return


def _place(tx: Connection, receipt_id: str) -> int | None:
    if not is_id(receipt_id):
        raise ReceiptNotFound
    index = log.place_of(tx, receipt_id)
    if index is None and tx.scalar(_EXISTS, {"receipt_id": receipt_id}) is None:
        raise ReceiptNotFound
    return index


def _checkpoint(tx: Connection, tree_size: int | None) -> Checkpoint | None:
    return checkpoints.latest(tx) if tree_size is None else checkpoints.of_size(tx, tree_size)
