"""What the chain of Bitcoin says about addresses."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol

from coordinator.core.config import MEMORY_CHAIN, settings
from coordinator.core.errors import ConfigurationError

# For so long at least a server that has failed is not asked again.
SHORTEST_PAUSE_SECONDS = 2.0


class ChainUnavailable(Exception):
    """The chain can't be asked: nothing was learned, so nothing may change."""


@dataclass(frozen=True)
class Tip:
    """The last block of the best chain."""

    height: int
    hash: str


@dataclass(frozen=True)
class Output:
    """One payment to an address: an output of a transaction in a block of the best chain, or in the mempool."""

    txid: str
    vout: int
    amount_sat: int
    # None: in no block yet.
    block_height: int | None
    block_hash: str | None
    # What the block itself says, in seconds since 1970; None too if it is not told.
    block_seconds: int | None = field(default=None, compare=False)


class Chain(Protocol):
    """The best chain as one server knows it. Whom it asks may differ from call to call, so answers may too.

    A server may lag behind. That an output is missing, or in no block, shows that it was undone only if `block_hash`
    tells of another block at the height that it was in.

    Raises:
        ChainUnavailable: by every call; nothing could be learned.
    """

    def tip(self) -> Tip: ...

    def block_hash(self, height: int) -> str | None:
        """The hash of the best chain's block at a height; None above the tip."""

    def outputs(self, address: str, since_height: int = 0) -> Sequence[Output]:
        """Everything that pays the address, spent or not, in blocks and in the mempool, as of one tip.

        What lies in blocks below `since_height` may be left out: who asks for one address again and again need not
        read all of its history.
        """


@cache
def chain() -> Chain:
    """The chain of this process.

    Raises:
        ConfigurationError: no server is configured.
    """
    urls, network = settings().esplora_urls, settings().bitcoin_network
    if not urls:
        raise ConfigurationError(f"ESPLORA_URLS must name a server, as there is no public one for {network}")
    if urls == (MEMORY_CHAIN,):
        from coordinator.payments.memory import MemoryChain  # noqa: PLC0415  (tests and tries only)

        return MemoryChain()
    # Few processes ask the chain, and HTTP with TLS takes long to import.
    from coordinator.payments.esplora import EsploraChain  # noqa: PLC0415

    return EsploraChain(urls, network)
