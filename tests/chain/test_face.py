"""The regtest node answers as Esplora does, and its blocks are good for Bitcoin Core."""

import json
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pbk
import pytest
from embit.networks import NETWORKS
from embit.script import Script

from coordinator.payments.chain import Output, Tip
from coordinator.payments.esplora import EsploraChain
from local.regtest.node import Node, NodeFailed, ask, install
from tests.chain.regtest import Regtest, Transaction

RECORDED = json.loads(Path(__file__).with_name("recorded.json").read_text())
# Those of a coinbase before segwit and of inputs without a witness lack it.
MAY_LACK = {"witness", "scriptpubkey_address"}


def shape(value: Any) -> Any:
    """Which members there are and of which type, in the order in which they stand."""
    if isinstance(value, dict):
        return {name: shape(member) for name, member in value.items() if name not in MAY_LACK}
    if isinstance(value, list):
        return shape(value[0]) if value else None
    return type(value).__name__


def words(asm: str) -> str:
    """A script's operations without the data."""
    return re.sub(r"\b[0-9a-f]{6,}\b", "..", asm)


def test_transactions_have_the_members_of_recorded_ones(regtest: Regtest) -> None:
    paid = regtest.pay((regtest.fresh_address(), 1000))
    unconfirmed = regtest.document(f"/tx/{paid.txid}")
    (mined,) = regtest.mine()
    confirmed = regtest.document(f"/tx/{paid.txid}")

    assert unconfirmed == {**confirmed, "status": {"confirmed": False}}
    assert shape(confirmed) == shape(RECORDED["transaction"])
    assert list(confirmed) == list(RECORDED["transaction"])
    assert list(confirmed["vin"][0]) == list(RECORDED["transaction"]["vin"][0])
    assert confirmed["status"]["block_hash"] == mined
    assert confirmed["fee"] == confirmed["vin"][0]["prevout"]["value"] - sum(o["value"] for o in confirmed["vout"])


def test_coinbases_have_the_members_of_recorded_ones(regtest: Regtest) -> None:
    (mined,) = regtest.mine()
    paid = regtest.document(f"/tx/{regtest.pay((regtest.fresh_address(), 1000)).txid}")
    # Who pays has all rewards.
    wallet = paid["vin"][0]["prevout"]["scriptpubkey_address"]

    rewards = [one for one in regtest.document(f"/address/{wallet}/txs") if one["vin"][0]["is_coinbase"]]

    assert rewards[0]["status"]["block_hash"] == mined
    assert shape(rewards[0]) == shape(RECORDED["coinbase"])
    assert list(rewards[0]) == list(RECORDED["coinbase"])
    commitment = rewards[0]["vout"][1]
    assert (commitment["scriptpubkey_type"], commitment["value"]) == ("op_return", 0)
    assert words(commitment["scriptpubkey_asm"]) == "OP_RETURN OP_PUSHBYTES_36 .."
    assert "scriptpubkey_address" not in commitment


@pytest.mark.parametrize(
    ("taproot", "kind", "asm"),
    [(False, "v0_p2wpkh", "OP_0 OP_PUSHBYTES_20 .."), (True, "v1_p2tr", "OP_PUSHNUM_1 OP_PUSHBYTES_32 ..")],
)
def test_outputs_tell_their_script_and_its_address(regtest: Regtest, taproot: bool, kind: str, asm: str) -> None:
    address = regtest.fresh_address(taproot=taproot)
    paid = regtest.pay((address, 1234))

    [told] = regtest.document(f"/address/{address}/txs/mempool")

    out = told["vout"][0]
    assert (out["scriptpubkey_address"], out["scriptpubkey_type"], out["value"]) == (address, kind, 1234)
    assert words(out["scriptpubkey_asm"]) == asm
    assert told["txid"] == paid.txid


@pytest.mark.parametrize("kind", ["p2pkh", "p2sh"])
def test_old_addresses_are_paid_too(regtest: Regtest, kind: str) -> None:
    script = next(out for out in RECORDED["transaction"]["vout"] if out["scriptpubkey_type"] == kind)
    # As this network writes it.
    address = Script(bytes.fromhex(script["scriptpubkey"])).address(NETWORKS["regtest"])
    paid = regtest.pay((address, 1234))

    out = regtest.document(f"/tx/{paid.txid}")["vout"][0]

    assert out == {**script, "scriptpubkey_address": address, "value": 1234}


def test_blocks_have_the_members_of_recorded_ones(regtest: Regtest) -> None:
    first, last = regtest.mine(2)
    block = regtest.document(f"/block/{last}")

    assert shape(block) == shape(RECORDED["block"])
    assert (block["id"], block["previousblockhash"], block["height"]) == (last, first, regtest.height)
    assert regtest.get(f"/block-height/{block['height']}").decode() == last
    assert regtest.get("/blocks/tip/hash").decode() == last


def test_addresses_have_the_sums_of_recorded_ones(regtest: Regtest) -> None:
    address = regtest.fresh_address()
    regtest.pay((address, 1000), (address, 2000))
    regtest.mine()
    regtest.pay((address, 3000))

    told = regtest.document(f"/address/{address}")

    assert shape(told) == shape(RECORDED["address"])
    assert told["chain_stats"] | {"tx_count": 1, "funded_txo_count": 2, "funded_txo_sum": 3000} == told["chain_stats"]
    assert told["mempool_stats"] | {"funded_txo_count": 1, "funded_txo_sum": 3000} == told["mempool_stats"]


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/block-height/999999", 404, "Block not found"),
        (f"/block/{'0' * 64}", 404, "Block not found"),
        (f"/tx/{'0' * 64}", 404, "Transaction not found"),
        ("/address/bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4/txs", 400, "no address of regtest"),
        ("/nothing", 404, "endpoint does not exist"),
    ],
)
def test_what_is_not_there_is_no_document(regtest: Regtest, path: str, status: int, message: str) -> None:
    with pytest.raises(HTTPError) as raised:
        regtest.get(path)

    with raised.value as answer:
        assert (answer.code, message in answer.read().decode()) == (status, True)


def test_pages_are_of_25_and_follow_each_other(regtest: Regtest) -> None:
    address = regtest.fresh_address()
    paid = []
    for _ in range(30):
        paid.append(regtest.pay((address, 1000)).txid)
        regtest.mine()

    first = [one["txid"] for one in regtest.document(f"/address/{address}/txs")]
    second = [one["txid"] for one in regtest.document(f"/address/{address}/txs/chain/{first[-1]}")]

    assert first + second == paid[::-1]
    assert len(first) == 25
    assert regtest.document(f"/address/{address}/txs/chain/{second[-1]}") == []
    assert regtest.document(f"/address/{address}/txs/chain/{'0' * 64}") == []


def test_the_coordinator_reads_it(regtest: Regtest) -> None:
    asked = EsploraChain([regtest.esplora_url], "regtest")
    address, taproot = regtest.fresh_address(), regtest.fresh_address(taproot=True)
    first = regtest.pay((address, 1000), (taproot, 2000), (address, 3000))
    (mined,) = regtest.mine()
    second = regtest.pay((address, 4000))
    height = regtest.height

    assert set(asked.outputs(address)) == {
        Output(first.txid, 0, 1000, height, mined),
        Output(first.txid, 2, 3000, height, mined),
        Output(second.txid, 0, 4000, None, None),
    }
    [other] = asked.outputs(taproot)
    assert other == Output(first.txid, 1, 2000, height, mined)
    assert other.block_seconds == regtest.document(f"/block/{mined}")["timestamp"]
    assert asked.tip() == Tip(height, mined)
    assert (asked.block_hash(height), asked.block_hash(height + 1)) == (mined, None)


def test_a_reorganization_undoes_and_takes_back_what_is_still_good(regtest: Regtest) -> None:
    asked = EsploraChain([regtest.esplora_url], "regtest")
    address = regtest.fresh_address()
    paid = regtest.pay((address, 1000))
    old = regtest.mine(2)
    height = regtest.height

    new = regtest.reorg(2)

    assert asked.block_hash(height - 1) == new[0]
    assert set(old).isdisjoint(new)
    assert asked.outputs(address) == [Output(paid.txid, 0, 1000, None, None)]
    (mined,) = regtest.mine()
    assert asked.outputs(address) == [Output(paid.txid, 0, 1000, height + 2, mined)]


def test_a_double_spend_in_the_other_branch_leaves_nothing(regtest: Regtest) -> None:
    asked = EsploraChain([regtest.esplora_url], "regtest")
    address = regtest.fresh_address()
    paid = regtest.pay((address, 1000))
    rival = regtest.rival(paid)
    regtest.mine(2)

    regtest.reorg(2, rival)

    assert asked.outputs(address) == []
    with pytest.raises(NodeFailed, match="spent"):
        regtest.send(paid)


def test_a_transaction_is_replaced_in_the_mempool(regtest: Regtest) -> None:
    address = regtest.fresh_address()
    paid = regtest.pay((address, 1000))
    rival = regtest.rival(paid)

    with pytest.raises(NodeFailed, match="spent"):
        regtest.send(rival)
    regtest.replace(rival)

    assert regtest.document(f"/address/{address}/txs") == []
    regtest.mine()
    assert regtest.document(f"/tx/{rival.txid}")["status"]["confirmed"]


@pytest.mark.parametrize(
    ("action", "what", "message"),
    [
        ("pay", {"outputs": [{"address": "bcrt1qnothing", "amount_sat": 1000}]}, "no address of regtest"),
        ("pay", {"outputs": [{"address": "x", "amount_sat": 0.5}]}, "must be a whole number"),
        ("pay", {"outputs": [{"address": "x", "amount_sat": 1}]}, "must be a whole number"),
        ("pay", {}, "outputs must be a list"),
        ("mine", {"blocks": 0}, "must be a whole number"),
        ("mine", {"transactions": ["00"]}, "no transaction"),
        ("reorg", {"depth": 900}, "no 900 blocks to undo"),
        ("reorg", {"depth": 1, "blocks": 1}, "must be longer"),
        ("rival", {"txid": "0" * 64}, "there is no transaction"),
        ("nothing", {}, "endpoint does not exist"),
    ],
)
def test_what_can_not_be_done_is_refused(regtest: Regtest, action: str, what: dict[str, Any], message: str) -> None:
    with pytest.raises(NodeFailed, match=message):
        ask(regtest.esplora_url.removesuffix("/api"), action, **what)


def test_more_than_there_is_can_not_be_paid(regtest: Regtest) -> None:
    with pytest.raises(NodeFailed, match="the faucet has not so much"):
        regtest.pay((regtest.fresh_address(), 21_000_000 * 10**8))


def test_the_chain_outlives_the_node_if_it_is_kept(regtest: Regtest, tmp_path: Path) -> None:
    blocks, address = tmp_path / "blocks", regtest.fresh_address()
    first = Regtest(node := Node(install(), blocks))
    first.pay((address, 1000))
    mined = first.mine(2)
    [other, *_] = first.reorg(1)
    node.stop()
    # Killed while it wrote another block.
    with blocks.open("ab") as file:
        file.write(b"\x00\x01\x00\x00half a block")

    second = Regtest(node := Node(install(), blocks))
    try:
        [told] = second.document(f"/address/{address}/txs")
        assert told["status"]["block_hash"] == mined[0]
        assert second.get(f"/block-height/{second.height - 1}").decode() == other
        second.mine()
    finally:
        node.stop()


def test_bitcoin_core_finds_all_blocks_valid(regtest: Regtest, tmp_path: Path) -> None:
    """Those of both branches of a reorganization, with payments to all kinds of addresses, spent again in between."""
    old = [regtest.get(f"/block-height/{height}").decode() for height in range(1, regtest.height + 1)]
    address, taproot = regtest.fresh_address(), regtest.fresh_address(taproot=True)
    paid = regtest.pay((address, 1000), (taproot, 2000))
    undone = regtest.mine(2)
    raw = {name: regtest.get(f"/block/{name}/raw") for name in (*old, *undone)}
    replacing = regtest.reorg(2, regtest.rival(paid))
    raw |= {name: regtest.get(f"/block/{name}/raw") for name in replacing}

    judged = core(tmp_path)
    for name in (*old, *undone):
        judged.process_block(pbk.Block(raw[name]))
    assert str(judged.best_entry.block_hash) == undone[-1]
    for name in replacing:
        judged.process_block(pbk.Block(raw[name]))

    # It follows only what it has verified.
    chain = judged.get_active_chain()
    assert str(chain.block_tree_entries[chain.height].block_hash) == replacing[-1]
    assert chain.height == regtest.height


def test_bitcoin_core_refuses_a_block_with_another_amount(regtest: Regtest, tmp_path: Path) -> None:
    hashes = [regtest.get(f"/block-height/{height}").decode() for height in range(1, regtest.height + 1)]
    blocks = [regtest.get(f"/block/{name}/raw") for name in hashes]
    judged = core(tmp_path)
    for raw in blocks[:-1]:
        judged.process_block(pbk.Block(raw))

    forged = blocks[-1][:-20] + bytes([blocks[-1][-20] ^ 1]) + blocks[-1][-19:]
    with pytest.raises(pbk.ProcessBlockException):
        judged.process_block(pbk.Block(forged))
    assert judged.get_active_chain().height == len(blocks) - 1


def core(folder: Path) -> pbk.ChainstateManager:
    options = pbk.ContextOptions()
    options.set_chainparams(pbk.ChainParameters(pbk.ChainType.REGTEST))
    context = pbk.Context(options)
    managed = pbk.ChainstateManagerOptions(context, str(folder), str(folder / "blocks"))
    managed.update_block_tree_db_in_memory(True)
    managed.update_chainstate_db_in_memory(True)
    return pbk.ChainstateManager(managed)


def test_a_transaction_is_what_its_bytes_say(regtest: Regtest) -> None:
    paid = regtest.pay((regtest.fresh_address(), 1000))

    assert Transaction(paid.txid, regtest.get(f"/tx/{paid.txid}/hex").decode()) == paid


def test_a_node_starts_where_thousands_of_files_are_open() -> None:
    with ExitStack() as until_it_has:
        for _ in range(1100):
            until_it_has.enter_context(Path("/dev/null").open())
        node = Node(install())
    node.stop()
