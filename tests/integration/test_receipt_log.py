"""The transparency log over HTTP: every receipt is in it, and what is proved of it verifies offline."""

from typing import Any

from aitbc_verify.checkpoints import Checkpoint, verified_checkpoint
from aitbc_verify.merkle import EMPTY_ROOT, leaf_hash, verify_consistency, verify_inclusion
from tests.api import Api


def complete(client: Api, miner: Api) -> dict[str, Any]:
    client.submit()
    miner.register()
    return dict(miner.answer(miner.poll()[0]).json["receipt"])


def checkpoint(api: Api) -> Checkpoint:
    return opened(api, api.get("/v1/receipts/checkpoint").json["checkpoint"])


def opened(api: Api, note: str) -> Checkpoint:
    return verified_checkpoint(note, api.get("/.well-known/jwks.json").json)


def path_of(proof: dict[str, Any]) -> list[bytes]:
    return [bytes.fromhex(step) for step in proof["path"]]


def has_grown(api: Api, older: Checkpoint, newer: Checkpoint) -> bool:
    proof = api.get(f"/v1/receipts/consistency?from={older.size}&to={newer.size}").json
    assert (proof["from"], proof["to"]) == (older.size, newer.size)
    return verify_consistency(older.size, newer.size, older.root, newer.root, path_of(proof))


def is_included(api: Api, receipt: dict[str, Any], query: str = "") -> bool:
    proof = api.get(f"/v1/receipts/{receipt['id']}/inclusion{query}").json
    signed = opened(api, proof["checkpoint"])
    leaf = leaf_hash(receipt["proof"].encode())
    assert (proof["tree_size"], proof["leaf_hash"]) == (signed.size, leaf.hex())
    return verify_inclusion(proof["log_index"], signed.size, leaf, path_of(proof), signed.root)


def test_a_receipt_is_proved_right_after_the_result(api: Api, client: Api, miner: Api) -> None:
    receipts = [complete(client, miner) for _ in range(3)]

    assert all(is_included(api, receipt) for receipt in receipts)


def test_an_empty_log_has_a_checkpoint(api: Api) -> None:
    answer = api.get("/v1/receipts/checkpoint").json
    signed = opened(api, answer["checkpoint"])

    assert (signed.size, signed.root) == (0, EMPTY_ROOT)
    assert (answer["tree_size"], answer["root_hash"]) == (0, EMPTY_ROOT.hex())
