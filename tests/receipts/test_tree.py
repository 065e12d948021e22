"""The tree that the database keeps is that of RFC 9162, and a proof reads a few of its hashes, however large it is."""

from functools import cache

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aitbc_verify.merkle import leaf_hash, verify_consistency, verify_inclusion
from coordinator.receipts.tree import Edge, Span, complete_nodes, consistency_path, inclusion_path, root_of
from tests.receipts import logs

ALL_SIZES = 160
MANY = 5_000
# Those of RFC 6962's implementations: https://github.com/transparency-dev/merkle/blob/main/testonly/constants.go
ENTRIES = [
    bytes.fromhex(entry)
    for entry in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


class Tree:
    """What the database would keep."""

    def __init__(self, entries: list[bytes]) -> None:
        self.leaves = [leaf_hash(entry) for entry in entries]
        edge = Edge(0, [])
        self.kept = [edge.add(leaf) for leaf in self.leaves]

    def hashes(self, span: Span) -> list[bytes]:
        return [node.hash_in(self.kept[node.entry]) for node in complete_nodes(span)]

    def root(self, size: int) -> bytes:
        return root_of(self.hashes(Span(0, size)))

    def path(self, spans: list[Span]) -> list[bytes]:
        return [root_of(self.hashes(span)) for span in spans]


@cache
def large() -> Tree:
    return Tree([str(number).encode() for number in range(MANY)])


indexes = st.integers(0, MANY - 1)
sizes = st.integers(1, MANY)


@pytest.mark.parametrize("size", range(len(ROOTS)))
def test_roots_are_those_of_other_implementations(size: int) -> None:
    assert Tree(ENTRIES[:size]).root(size).hex() == ROOTS[size]


@pytest.mark.parametrize("size", range(1, ALL_SIZES + 1))
def test_every_proof_of_every_small_tree_is_the_one_that_the_rfc_defines(size: int) -> None:
    tree, leaves = large(), large().leaves[:size]
    root = logs.root(leaves)

    assert tree.root(size) == root
    for index in range(size):
        path = tree.path(inclusion_path(index, size))
        assert path == logs.inclusion_path(index, leaves)
        assert verify_inclusion(index, size, leaves[index], path, root)
    for older in range(1, size + 1):
        path = tree.path(consistency_path(older, size))
        assert path == logs.consistency_path(older, leaves, whole=True)
        assert verify_consistency(older, size, tree.root(older), root, path)


@given(indexes, sizes)
def test_entries_of_large_trees_are_proved(index: int, size: int) -> None:
    assume(index < size)
    tree = large()

    path = tree.path(inclusion_path(index, size))

    assert path == logs.inclusion_path(index, tree.leaves[:size])
    assert verify_inclusion(index, size, tree.leaves[index], path, tree.root(size))


@given(st.integers(0, MANY), sizes)
def test_growth_of_large_trees_is_proved(older: int, newer: int) -> None:
    assume(older <= newer)
    tree = large()

    assert verify_consistency(
        older, newer, tree.root(older), tree.root(newer), tree.path(consistency_path(older, newer))
    )


@given(indexes, indexes, sizes)
def test_a_proof_is_good_for_one_place_only(index: int, other: int, size: int) -> None:
    assume(index < size and other != index)
    tree = large()

    path = tree.path(inclusion_path(index, size))

    assert not verify_inclusion(other, size, tree.leaves[index], path, tree.root(size))


@given(sizes, sizes, sizes)
def test_a_proof_of_growth_is_good_for_its_sizes_only(older: int, newer: int, wrong: int) -> None:
    assume(older < newer and wrong != older)
    tree = large()
    path = tree.path(consistency_path(older, newer))

    assert not verify_consistency(wrong, newer, tree.root(older), tree.root(newer), path)


@given(st.integers(0, MANY - 1), st.integers(1, 40))
def test_a_tree_grows_alike_wherever_it_is_taken_up_again(size: int, more: int) -> None:
    tree = large()
    edge = Edge(size, tree.hashes(Span(0, size)))

    assert [edge.add(leaf) for leaf in tree.leaves[size : size + more]] == tree.kept[size : size + more]


@given(st.integers(1, 2**53), st.data())
def test_proofs_read_no_more_than_twice_as_many_entries_as_the_tree_has_levels(size: int, data: st.DataObject) -> None:
    levels = (size - 1).bit_length()
    place = data.draw(st.integers(0, size - 1))

    for path in (inclusion_path(place, size), consistency_path(place, size)):
        assert len(path) <= levels + 1
        assert len({node.entry for span in path for node in complete_nodes(span)}) <= 2 * levels + 1
