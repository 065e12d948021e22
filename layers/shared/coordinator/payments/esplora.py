"""The chain as servers of the Esplora API tell it: https://github.com/Blockstream/esplora/blob/master/API.md."""

from collections.abc import Callable, Iterator, Sequence
from threading import RLock
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from coordinator.core.bitcoin import NETWORKS, script_of
from coordinator.core.log import logger
from coordinator.payments.chain import ChainUnavailable, Output, Tip
from coordinator.payments.server import Limits, NotThere, Server, ServerFailed

# As often what is read is read again because there was a new block in between.
_MOST_READINGS = 4
# Of at least 25 transactions, unless a server is set up otherwise.
_MOST_PAGES = 400
_MAX_MONEY_SAT = 21_000_000 * 10**8

_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Height = Annotated[int, Field(ge=0, lt=2**31)]
T = TypeVar("T")


class _Read(BaseModel):
    # Numbers are numbers; what else stands there is no matter of ours.
    model_config = ConfigDict(strict=True, extra="ignore")


class _TxOut(_Read):
    scriptpubkey: str
    scriptpubkey_address: str | None = None
    value: int = Field(ge=0, le=_MAX_MONEY_SAT)


class _TxIn(_Read):
    prevout: _TxOut | None = None


class _Status(_Read):
    confirmed: bool
    block_height: _Height | None = None
    block_hash: _Hash | None = None
    # Four bytes of the block's header.
    block_time: int | None = Field(default=None, ge=0, lt=2**32)


class _Transaction(_Read):
    txid: _Hash
    vin: list[_TxIn]
    vout: list[_TxOut]
    status: _Status


class _Block(_Read):
    id: _Hash
    height: _Height


_HASH = TypeAdapter(_Hash)
_TRANSACTIONS = TypeAdapter(list[_Transaction])


class EsploraChain:
    """Asks the first server that can be asked; the next one when it fails. Several threads may use it.

    What they say is checked as far as that can be done from here: that they have this network's chain, that what they
    tell of an address is of this address, that it is whole, and of one tip. Of the mempool they tell 50 transactions.
    """

    def __init__(self, urls: Sequence[str], network: str, limits: Limits | None = None) -> None:
        self._network = network
        self._sources = [_Source(Server(url, limits or Limits()), network) for url in urls]
        self._lock = RLock()

    def tip(self) -> Tip:
        return self._ask(lambda source: source.tip())

    def block_hash(self, height: int) -> str | None:
        return self._ask(lambda source: source.block_hash(height))

    def outputs(self, address: str, since_height: int = 0) -> Sequence[Output]:
        script = script_of(address, self._network)
        if script is None:
            # It was given out when BITCOIN_NETWORK was another.
            raise ChainUnavailable(f"{address} is no address of {self._network}")
        return self._ask(lambda source: source.outputs(address, script.hex(), since_height))

    def _ask(self, question: Callable[["_Source"], T]) -> T:
        troubles = []
        with self._lock:
            for source in self._sources:
                server = source.server
                if not server.left_alone:
                    try:
                        source.require_network()
                        answer = question(source)
                    except ServerFailed as error:
                        server.has_failed(error)
                        logger.warning(
                            "a server of the chain has failed", extra={"server": server.name, "why": str(error)}
                        )
                    else:
                        server.has_answered()
                        return answer
                troubles.append(f"{server.name}: {server.trouble}")
        raise ChainUnavailable("; ".join(troubles))


class _Source:
    """What one server says; each method raises ServerFailed where it can't be used."""

    def __init__(self, server: Server, network: str) -> None:
        self.server = server
        self._network = network
        self._knows_network = False
        self._tip: Tip | None = None

    def require_network(self) -> None:
        """Looks once at the first block."""
        if not self._knows_network:
            first = self._hash("/block-height/0")
            if first != NETWORKS[self._network].genesis_hash:
                raise ServerFailed(f"it has another chain than that of {self._network}, from block {first} on")
            self._knows_network = True

    def tip(self) -> Tip:
        for _ in range(_MOST_READINGS):
            tip_hash = self._hash("/blocks/tip/hash")
            if self._tip is not None and self._tip.hash == tip_hash:
                return self._tip
            try:
                block = self._parse(_Block.model_validate_json, f"/block/{tip_hash}")
            except NotThere:
                # It was undone in between.
                continue
            if block.id != tip_hash:
                raise ServerFailed(f"asked for block {tip_hash} it told of another")
            self._tip = Tip(block.height, tip_hash)
            return self._tip
        raise ServerFailed("it has not the block that it calls its last")

    def block_hash(self, height: int) -> str | None:
        if height < 0:
            return None
        try:
            return self._hash(f"/block-height/{height}")
        except NotThere:
            if height <= self.tip().height:
                raise ServerFailed(f"it has no block {height}, which is below its last") from None
            return None

    def outputs(self, address: str, script: str, since_height: int) -> list[Output]:
        """Reads until there was no new block in between: nothing is missed that moves into one or out of one."""
        # What was last seen does for the first reading: an equal one afterwards shows that nothing has changed since.
        before = self._tip or self.tip()
        for _ in range(_MOST_READINGS):
            transactions = {one.txid: one for page in self._pages(address, since_height) for one in page}
            found = [output for one in transactions.values() for output in _outputs_of(one, address, script)]
            after = self.tip()
            if before == after:
                return found
            before = after
        raise ServerFailed("there were new blocks all the time that it was read")

    def _pages(self, address: str, since_height: int) -> Iterator[list[_Transaction]]:
        """The mempool's and all others, newest first; how long pages are is each server's own choice."""
        page = self._parse(_TRANSACTIONS.validate_json, f"/address/{address}/txs")
        yield page
        confirmed = [one for one in page if one.status.confirmed]
        seen: set[str] = set()
        for _ in range(_MOST_PAGES):
            fresh = [one for one in confirmed if one.txid not in seen]
            if not fresh or (fresh[-1].status.block_height or 0) < since_height:
                return
            seen.update(one.txid for one in fresh)
            confirmed = self._parse(_TRANSACTIONS.validate_json, f"/address/{address}/txs/chain/{fresh[-1].txid}")
            yield confirmed
        raise ServerFailed(f"it tells of more than {_MOST_PAGES} pages of transactions")

    def _hash(self, path: str) -> str:
        return self._parse(_HASH.validate_python, path, lambda body: body.decode().strip())

    def _parse(self, parse: Callable[[Any], T], path: str, decode: Callable[[bytes], Any] = bytes) -> T:
        body = self.server.get(path)
        try:
            return parse(decode(body))
        except ValueError as error:
            raise ServerFailed(f"its answer to {path} is not what it should be: {body[:40]!r}") from error


def _outputs_of(transaction: _Transaction, address: str, script: str) -> Iterator[Output]:
    """What a transaction pays the address.

    Raises:
        ServerFailed: it has nothing to do with the address, or script and address do not belong together.
    """
    status = transaction.status
    if status.confirmed is not (status.block_height is not None and status.block_hash is not None):
        raise ServerFailed(f"it does not tell which block {transaction.txid} is in")
    paid = False
    for vout, out in enumerate(transaction.vout):
        if (out.scriptpubkey == script) is not (out.scriptpubkey_address == address):
            raise ServerFailed(f"output {vout} of {transaction.txid} pays another address than it is said to")
        if out.scriptpubkey == script:
            paid = True
            block = status.block_height, status.block_hash, status.block_time
            yield Output(transaction.txid, vout, out.value, *block)
    if not paid and all(
        spent.prevout is not None and spent.prevout.scriptpubkey != script for spent in transaction.vin
    ):
        raise ServerFailed(f"{transaction.txid} neither pays {address} nor spends what it had")
