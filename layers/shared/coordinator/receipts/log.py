"""The transparency log: receipts in an order that never changes, under a Merkle tree; see docs/decisions/0015."""

from collections.abc import Iterable

from sqlalchemy import Connection, bindparam, delete, func, insert, select

from aitbc_verify.merkle import leaf_hash
from coordinator.core.database import take_turn
from coordinator.receipts.models import receipt_log, receipt_log_waiting, receipts
from coordinator.receipts.tree import Edge, Span, complete_nodes, root_of

# The bytes of "RLOG".
TURN = 0x524C4F47

# Receipts that wait are found by their own rows and not by their ids: an older one may be committed later.
_NEXT = (
    select(receipt_log_waiting.c.receipt_id, receipts.c.proof)
    .join(receipts, receipts.c.id == receipt_log_waiting.c.receipt_id)
    .order_by(receipt_log_waiting.c.receipt_id)
    .limit(bindparam("most"))
)
_WAITS = select(receipt_log_waiting.c.receipt_id).limit(1)
_TAKEN = delete(receipt_log_waiting).where(
    receipt_log_waiting.c.receipt_id.in_(
        select(receipt_log.c.receipt_id).where(receipt_log.c.log_index >= bindparam("first"))
    )
)
_LAST = select(func.max(receipt_log.c.log_index))
_PLACE = select(receipt_log.c.log_index).where(receipt_log.c.receipt_id == bindparam("receipt_id"))
_HASHES = select(receipt_log.c.log_index, receipt_log.c.hashes).where(
    receipt_log.c.log_index.in_(bindparam("wanted", expanding=True))
)


def take_in(tx: Connection, most: int) -> int:
    """Appends receipts that wait, the oldest first, and tells how many.

    Several at once take turns. It is one transaction: a receipt is in the log and no longer waits, or neither.
    """
    take_turn(tx, TURN)
    waiting = tx.execute(_NEXT, {"most": most}).all()
    if not waiting:
        return 0
    first = size(tx)
    edge = Edge(first, _hashes(tx, [Span(0, first)])[0])
    rows = [
        {"log_index": index, "receipt_id": receipt_id, "hashes": edge.add(leaf_hash(proof.encode()))}
        for index, (receipt_id, proof) in enumerate(waiting, first)
    ]
    tx.execute(insert(receipt_log), rows)
    tx.execute(_TAKEN, {"first": first})
    return len(rows)


def anything_waits(tx: Connection) -> bool:
    return tx.scalar(_WAITS) is not None


def size(tx: Connection) -> int:
    """How many receipts the log has; it never has less."""
    last: int | None = tx.scalar(_LAST)
    return 0 if last is None else last + 1


def place_of(tx: Connection, receipt_id: str) -> int | None:
    """The index of a receipt, None until the log has taken it in."""
    return tx.scalar(_PLACE, {"receipt_id": receipt_id})


def roots(tx: Connection, spans: Iterable[Span]) -> list[bytes]:
    """The hashes of the nodes above these entries, by one statement that reads a few entries for each level at most."""
    return [root_of(hashes) for hashes in _hashes(tx, spans)]


def _hashes(tx: Connection, spans: Iterable[Span]) -> list[list[bytes]]:
    nodes = [complete_nodes(span) for span in spans]
    wanted = sorted({node.entry for of_span in nodes for node in of_span})
    kept = {row.log_index: row.hashes for row in tx.execute(_HASHES, {"wanted": wanted})} if wanted else {}
    return [[node.hash_in(kept[node.entry]) for node in of_span] for of_span in nodes]
