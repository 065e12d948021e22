"""The Merkle tree of a log (RFC 9162, section 2.1): how it grows, and which of its nodes a proof is made of.

A node that has all entries below it never changes again. So it is kept with the last of these entries: with each entry
stands its own hash, and behind it the hashes of the nodes that it completes, from below. That is two hashes an entry in
the long run, and nothing that was written is ever written again. Nodes at the right edge, which wait for entries, are
worked out from complete ones, of which there are no more than the tree has levels.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from aitbc_verify.merkle import EMPTY_ROOT, node_hash

HASH_BYTES = 32


class Span(NamedTuple):
    """The entries below one node of the tree, from `first` to the one before `end`."""

    first: int
    end: int


class Kept(NamedTuple):
    """Where the hash of a complete node is kept: with which entry, and after how many others."""

    entry: int
    level: int

    def hash_in(self, hashes: bytes) -> bytes:
        return hashes[self.level * HASH_BYTES : (self.level + 1) * HASH_BYTES]


def complete_nodes(span: Span) -> list[Kept]:
    """The complete nodes that make up the node above these entries, from the left."""
    return list(_complete_nodes(span))


def _complete_nodes(span: Span) -> Iterator[Kept]:
    first = span.first
    while count := span.end - first:
        level = count.bit_length() - 1
        first += 1 << level
        yield Kept(first - 1, level)


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The hash of the node that these complete nodes make up."""
    if not hashes:
        return EMPTY_ROOT
    *rest, root = hashes
    for left in reversed(rest):
        root = node_hash(left, root)
    return root


class Edge:
    """The right edge of a growing tree."""

    def __init__(self, size: int, hashes: Sequence[bytes]) -> None:
        """Begins with a tree of so many entries, and the hashes of the complete nodes that make it up."""
        self._size = size
        self._hashes = list(hashes)

    def add(self, leaf: bytes) -> bytes:
        """Adds an entry, and gives the hashes that are to be kept with it."""
        completed = [leaf]
        place = self._size
        while place & 1:
            completed.append(node_hash(self._hashes.pop(), completed[-1]))
            place >>= 1
        self._hashes.append(completed[-1])
        self._size += 1
        return b"".join(completed)


def inclusion_path(index: int, size: int) -> list[Span]:
    """What the inclusion of an entry in a tree of so many is proved by, as RFC 9162 orders it."""
    path = []
    first, end = 0, size
    while end - first > 1:
        middle = _middle(first, end)
        if index < middle:
            path.append(Span(middle, end))
            end = middle
        else:
            path.append(Span(first, middle))
            first = middle
    return path[::-1]


def consistency_path(older: int, newer: int) -> list[Span]:
    """What it is proved by that a tree of `newer` entries begins with one of `older`; nothing for an empty one."""
    if older in (0, newer):
        return []
    path = []
    first, end = 0, newer
    while older != end:
        middle = _middle(first, end)
        if older <= middle:
            path.append(Span(middle, end))
            end = middle
        else:
            path.append(Span(first, middle))
            first = middle
    if first:
        # Else it is the older tree itself, whose hash is known to whoever asks.
        path.append(Span(first, end))
    return path[::-1]


def _middle(first: int, end: int) -> int:
    """Where the left half of a node ends: it has the largest power of two entries that leaves some to the right."""
    return first + (1 << (end - first - 1).bit_length() - 1)
