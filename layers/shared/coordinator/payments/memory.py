"""A chain in the memory of one process, for tests and tries without a node."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count
from threading import RLock
from time import time

from coordinator.payments.chain import ChainUnavailable, Output, Tip


@dataclass(frozen=True)
class _Transaction:
    txid: str
    # Address and satoshis of each output.
    outputs: tuple[tuple[str, int], ...]


@dataclass
class _Block:
    hash: str
    seconds: int
    transactions: list[_Transaction] = field(default_factory=list)


class MemoryChain:
    """Says what it was told: payments go to the mempool, `mine` takes them into blocks, `reorg` undoes blocks.

    Several threads may use it at once. While `unavailable` is set, nothing can be learned from it.
    """

    def __init__(self) -> None:
        self.unavailable = False
        self._lock = RLock()
        self._numbers = count()
        self._blocks = [self._fresh_block()]
        self._mempool: list[_Transaction] = []

    # What every chain can be asked.

    def tip(self) -> Tip:
        with self._lock:
            self._require_available()
            return Tip(len(self._blocks) - 1, self._blocks[-1].hash)

    def block_hash(self, height: int) -> str | None:
        with self._lock:
            self._require_available()
            return self._blocks[height].hash if 0 <= height < len(self._blocks) else None

    def outputs(self, address: str, since_height: int = 0) -> Sequence[Output]:
        with self._lock:
            self._require_available()
            mined = (
                output
                for height, block in enumerate(self._blocks[since_height:], since_height)
                for output in _paying(address, block.transactions, height, block.hash, block.seconds)
            )
            return [*mined, *_paying(address, self._mempool)]

    # What can be done to this one.

    def pay(self, *payments: tuple[str, int]) -> str:
        """Puts a transaction into the mempool that pays each address its satoshis; the id of the transaction."""
        with self._lock:
            self._mempool.append(_Transaction(self._fresh_hash(), payments))
            return self._mempool[-1].txid

    def mine(self, blocks: int = 1, seconds: int | None = None) -> list[str]:
        """Mines blocks, the first of which takes all of the mempool; their hashes.

        `seconds` is the time that they tell, since 1970, else it is now.
        """
        with self._lock:
            mined = [self._fresh_block(seconds) for _ in range(blocks)]
            if mined:
                mined[0].transactions, self._mempool = self._mempool, []
            self._blocks += mined
            return [block.hash for block in mined]

    def reorg(self, depth: int, *, without: Iterable[str] = (), blocks: int | None = None) -> list[str]:
        """Puts other, empty blocks in place of the last `depth` (`depth` + 1 unless told), and tells their hashes.

        What was in the old ones is in the mempool again, unless `without` names it: that was spent otherwise, in them.
        """
        with self._lock:
            if not 0 < depth < len(self._blocks):
                raise ValueError(f"there are no {depth} blocks to undo")
            self._blocks, undone = self._blocks[:-depth], self._blocks[-depth:]
            returned = [transaction for block in undone for transaction in block.transactions]
            self._mempool = [*returned, *self._mempool]
            self.drop(*without)
            others = [self._fresh_block() for _ in range(depth + 1 if blocks is None else blocks)]
            self._blocks += others
            return [block.hash for block in others]

    def drop(self, *txids: str) -> None:
        """Takes transactions out of the mempool, as when their money was spent otherwise."""
        with self._lock:
            self._mempool = [transaction for transaction in self._mempool if transaction.txid not in txids]

    def _require_available(self) -> None:
        if self.unavailable:
            raise ChainUnavailable("the chain in memory was made unavailable")

    def _fresh_block(self, seconds: int | None = None) -> _Block:
        return _Block(self._fresh_hash(), int(time()) if seconds is None else seconds)

    def _fresh_hash(self) -> str:
        return sha256(f"{id(self)}-{next(self._numbers)}".encode()).hexdigest()


def _paying(
    address: str,
    transactions: Iterable[_Transaction],
    height: int | None = None,
    block_hash: str | None = None,
    seconds: int | None = None,
) -> Iterable[Output]:
    return (
        Output(transaction.txid, vout, amount_sat, height, block_hash, seconds)
        for transaction in transactions
        for vout, (paid, amount_sat) in enumerate(transaction.outputs)
        if paid == address
    )
