"""What tests do with a regtest node: pay, mine, and undo what was mined."""

import json
import secrets
import urllib.request
from dataclasses import dataclass
from typing import Any

from embit.bip32 import HDKey
from embit.networks import NETWORKS
from embit.script import p2tr, p2wpkh

from local.regtest.node import Node, ask


@dataclass(frozen=True)
class Transaction:
    txid: str
    hex: str


class Regtest:
    """A chain that all tests of a session share, each with addresses of its own."""

    def __init__(self, node: Node) -> None:
        self._node = node

    @property
    def esplora_url(self) -> str:
        return self._node.esplora_url

    def fresh_address(self, *, taproot: bool = False) -> str:
        """An address that nobody has been paid to yet."""
        key = HDKey.from_seed(secrets.token_bytes(32)).to_public()
        return str((p2tr if taproot else p2wpkh)(key).address(NETWORKS["regtest"]))

    def fresh_account(self) -> str:
        """The public key of an account that nobody has been paid to yet."""
        root = HDKey.from_seed(secrets.token_bytes(32), version=NETWORKS["regtest"]["xprv"])
        return str(root.derive("m/84h/1h/0h").to_public().to_base58())

    def confirmed_sat(self, address: str, confirmations: int) -> int:
        """What has come to an address with so many confirmations, by what the node says of each transaction."""
        highest = self.height - confirmations + 1
        confirmed = [
            one for one in self.document(f"/address/{address}/txs/chain") if one["status"]["block_height"] <= highest
        ]
        outputs = [output for one in confirmed for output in one["vout"]]
        return sum(output["value"] for output in outputs if output.get("scriptpubkey_address") == address)

    def pay(self, *payments: tuple[str, int]) -> Transaction:
        """Puts one transaction into the mempool that pays each address its satoshis."""
        outputs = [{"address": address, "amount_sat": amount_sat} for address, amount_sat in payments]
        return Transaction(**ask(self._node.url, "pay", outputs=outputs))

    def rival(self, transaction: Transaction) -> Transaction:
        """A transaction that spends the same otherwise; nobody but who holds it knows of it."""
        return Transaction(**ask(self._node.url, "rival", txid=transaction.txid))

    def replace(self, transaction: Transaction) -> None:
        """Puts a transaction into the mempool in place of those that spend the same."""
        ask(self._node.url, "replace", hex=transaction.hex)

    def send(self, transaction: Transaction) -> None:
        ask(self._node.url, "send", hex=transaction.hex)

    def mine(self, blocks: int = 1, *transactions: Transaction) -> list[str]:
        """Mines blocks, the first with these transactions, or all of the mempool if none is named; their hashes."""
        chosen = {"transactions": [one.hex for one in transactions]} if transactions else {}
        return list(ask(self._node.url, "mine", blocks=blocks, **chosen)["hashes"])

    def reorg(self, depth: int, *transactions: Transaction, blocks: int | None = None) -> list[str]:
        """Undoes the last blocks by others, one more unless told, the first with these transactions; their hashes."""
        chosen = {"blocks": blocks} if blocks else {}
        return list(
            ask(self._node.url, "reorg", depth=depth, transactions=[one.hex for one in transactions], **chosen)[
                "hashes"
            ]
        )

    def get(self, path: str) -> bytes:
        """What Esplora's API answers."""
        with urllib.request.urlopen(self.esplora_url + path, timeout=60) as answer:
            return bytes(answer.read())

    def document(self, path: str) -> Any:
        return json.loads(self.get(path))

    @property
    def height(self) -> int:
        return int(self.get("/blocks/tip/height"))
