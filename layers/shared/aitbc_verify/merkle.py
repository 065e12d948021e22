"""Merkle trees of a log (RFC 9162, section 2.1): what their hashes are of, and how their proofs are verified."""

import hashlib
from collections.abc import Sequence

# What the tree of no entries hashes to.
EMPTY_ROOT = hashlib.sha256().digest()

_LEAF, _NODE = b"\0", b"\1"


def leaf_hash(entry: bytes) -> bytes:
    return hashlib.sha256(_LEAF + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(_NODE + left + right).digest()


def root_from_inclusion(index: int, size: int, leaf: bytes, path: Sequence[bytes]) -> bytes | None:
    """The root of the tree of so many entries that this path leads to; None if it is no path in such a tree.

    https://www.rfc-editor.org/rfc/rfc9162#section-2.1.3.2
    """
    if not 0 <= index < size:
        return None
    place, last, root = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return None
        if place & 1 or place == last:
            root = node_hash(sibling, root)
            # The last node of a level that lacks a sibling rises to where it has one.
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            root = node_hash(root, sibling)
        place, last = place >> 1, last >> 1
    return root if last == 0 else None


def verify_inclusion(index: int, size: int, leaf: bytes, path: Sequence[bytes], root: bytes) -> bool:
    """Tells whether a tree of so many entries, with this root, has this leaf at this index."""
    return root_from_inclusion(index, size, leaf, path) == root


def verify_consistency(
    older_size: int, newer_size: int, older_root: bytes, newer_root: bytes, path: Sequence[bytes]
) -> bool:
    """Tells whether the tree of the newer root begins with all entries of the tree of the older one, in their order.

    From an empty tree, and to the same one, no path is needed.

    https://www.rfc-editor.org/rfc/rfc9162#section-2.1.4.2
    """
    if not 0 <= older_size <= newer_size:
        return False
    if older_size == newer_size:
        return not path and older_root == newer_root
    if older_size == 0:
        return not path and older_root == EMPTY_ROOT
    place, last = older_size - 1, newer_size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    # If the older tree is complete, it is a node of the newer one, which the path leaves out.
    hashes = list(path) if place else [older_root, *path]
    if not hashes:
        return False
    older = newer = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            older, newer = node_hash(sibling, older), node_hash(sibling, newer)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            newer = node_hash(newer, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and older == older_root and newer == newer_root
