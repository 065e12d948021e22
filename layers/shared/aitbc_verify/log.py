"""The transparency log: that it has a receipt, and that it has only grown."""

import re
from collections.abc import Mapping
from typing import Any

from aitbc_verify import merkle
from aitbc_verify.checkpoints import Checkpoint, verified_checkpoint
from aitbc_verify.errors import NotVerified

_HASH = re.compile(r"[0-9a-f]{64}")


def verified_inclusion(proof: str, inclusion: Any, jwks: Any) -> Checkpoint:
    """The checkpoint, signed by one of these keys, of a log that has the receipt with this proof.

    Args:
        proof: the receipt's; its bytes are the entry of the log.
        inclusion: what `/v1/receipts/{id}/inclusion` has answered.
        jwks: the coordinator's public keys.

    Raises:
        NotVerified: the answer is malformed, or does not prove that.
    """
    index, size, note = (_member(inclusion, name) for name in ("log_index", "tree_size", "checkpoint"))
    leaf, path = _hash(_member(inclusion, "leaf_hash")), _path(inclusion)
    if not _is_whole(index) or not _is_whole(size) or not isinstance(note, str):
        raise NotVerified("the proof of inclusion is malformed")
    if leaf != merkle.leaf_hash(proof.encode()):
        raise NotVerified("it is about another receipt")
    checkpoint = verified_checkpoint(note, jwks)
    if checkpoint.size != size:
        raise NotVerified(f"it is for {size} entries, but the checkpoint has {checkpoint.size}")
    if not merkle.verify_inclusion(index, size, leaf, path, checkpoint.root):
        raise NotVerified("its path does not lead to the checkpoint")
    return checkpoint


def needs_proof(older: Checkpoint, newer: Checkpoint) -> bool:
    """Tells whether it takes a proof to see that one tree begins with the other."""
    return older.origin == newer.origin and 0 < older.size < newer.size


def require_grown(older: Checkpoint, newer: Checkpoint, consistency: Any) -> None:
    """Requires that a log has only grown from one checkpoint to the other.

    Args:
        older: the smaller tree.
        newer: the larger one, or the same.
        consistency: what `/v1/receipts/consistency` has answered, where that `needs_proof`.

    Raises:
        NotVerified: entries were changed, removed or put in another order; or the answer is no proof.
    """
    if older.origin != newer.origin:
        raise NotVerified(f"they are of different logs, {older.origin!r} and {newer.origin!r}")
    if older.size > newer.size:
        raise NotVerified(f"the log had {older.size} entries and has {newer.size}")
    if older.size == newer.size and older.root != newer.root:
        raise NotVerified(f"two different logs of {older.size} entries were signed")
    path = _path(consistency) if needs_proof(older, newer) else []
    if not merkle.verify_consistency(older.size, newer.size, older.root, newer.root, path):
        raise NotVerified(f"it is not proved that the {newer.size} entries begin with the {older.size}")


def _member(answer: Any, name: str) -> Any:
    if not isinstance(answer, Mapping) or name not in answer:
        raise NotVerified(f"the proof lacks {name!r}")
    return answer[name]


def _path(answer: Any) -> list[bytes]:
    path = _member(answer, "path")
    if not isinstance(path, list):
        raise NotVerified("the path is no list")
    return [_hash(step) for step in path]


def _hash(text: Any) -> bytes:
    if not isinstance(text, str) or not _HASH.fullmatch(text):
        raise NotVerified("a hash is not 64 hexadecimal digits in small letters")
    return bytes.fromhex(text)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
