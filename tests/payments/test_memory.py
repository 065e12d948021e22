"""The chain in memory behaves as a chain does."""

import pytest

from coordinator.core.config import MEMORY_CHAIN
from coordinator.payments.chain import ChainUnavailable, Output, Tip, chain
from coordinator.payments.memory import MemoryChain
from tests.api import SECRET_KEY, forget_process_state

MINE, THEIRS = "bcrt1qmine", "bcrt1qtheirs"


def test_a_payment_is_in_the_mempool_and_then_in_a_block() -> None:
    chain = MemoryChain()
    txid = chain.pay((MINE, 1000), (THEIRS, 5), (MINE, 7))
    before = chain.outputs(MINE)

    (mined,) = chain.mine()

    assert before == [Output(txid, 0, 1000, None, None), Output(txid, 2, 7, None, None)]
    assert chain.outputs(MINE) == [Output(txid, 0, 1000, 1, mined), Output(txid, 2, 7, 1, mined)]
    assert chain.outputs(MINE, since_height=2) == []
    assert chain.outputs(THEIRS) == [Output(txid, 1, 5, 1, mined)]
    assert chain.tip() == Tip(1, mined)


def test_blocks_are_found_by_height_up_to_the_tip() -> None:
    chain = MemoryChain()
    mined = chain.mine(3)

    assert [chain.block_hash(height) for height in (1, 2, 3, 4, -1)] == [*mined, None, None]


def test_a_reorganization_returns_payments_to_the_mempool() -> None:
    chain = MemoryChain()
    txid = chain.pay((MINE, 1000))
    chain.mine(2)

    others = chain.reorg(2)
    undone = chain.outputs(MINE)
    (again,) = chain.mine()

    assert chain.block_hash(3) == others[2]
    assert undone == [Output(txid, 0, 1000, None, None)]
    assert chain.outputs(MINE) == [Output(txid, 0, 1000, 4, again)]


def test_a_payment_whose_money_was_spent_otherwise_is_gone() -> None:
    chain = MemoryChain()
    in_block, in_mempool = chain.pay((MINE, 1)), None
    chain.mine()
    in_mempool = chain.pay((MINE, 2))

    chain.reorg(1, without=[in_block])
    chain.drop(in_mempool)

    assert chain.outputs(MINE) == []


def test_no_reorganization_goes_below_the_first_block() -> None:
    with pytest.raises(ValueError, match="no 1 blocks"):
        MemoryChain().reorg(1)


def test_nothing_is_learned_while_it_is_unavailable() -> None:
    chain = MemoryChain()
    chain.unavailable = True

    for ask in (chain.tip, lambda: chain.block_hash(0), lambda: chain.outputs(MINE)):
        with pytest.raises(ChainUnavailable):
            ask()


def test_a_process_has_one_by_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"DATABASE_URL": "sqlite:///x", "SECRET_KEY": SECRET_KEY}
    for name, value in {**variables, "BITCOIN_NETWORK": "regtest", "ESPLORA_URLS": MEMORY_CHAIN}.items():
        monkeypatch.setenv(name, value)
    forget_process_state()

    assert isinstance(chain(), MemoryChain)
    assert chain() is chain()
