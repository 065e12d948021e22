"""What the chain says of several payments at one moment. No connection to the database is held meanwhile."""

from collections.abc import Sequence
from typing import NamedTuple

from coordinator.payments.chain import Chain, ChainUnavailable, Output, Tip


class Reading(NamedTuple):
    """All outputs of one address as of one tip."""

    tip: Tip
    outputs: Sequence[Output]
    # Outputs in blocks below this height were not asked for.
    since_height: int
    # Of the best chain, wherever an output is or was; None above the tip.
    block_hashes: dict[int, str | None]

    def confirmations(self, height: int | None) -> int:
        return 0 if height is None else max(0, self.tip.height - height + 1)


class Reader:
    """Asks for one address after the other, as of the same tip.

    Raises:
        ChainUnavailable: by every call; nothing may be concluded from what this reader has read.
    """

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self.tip = chain.tip()
        self._block_hashes: dict[int, str | None] = {}
        self._outputs: dict[tuple[str, int], Sequence[Output]] = {}

    def read(self, address: str, since_height: int, heights: Sequence[int]) -> Reading:
        """What pays an address, and which blocks are at these heights and at those of what pays it."""
        asked = address, since_height
        if asked not in self._outputs:
            self._outputs[asked] = self._chain.outputs(address, since_height)
        found = self._outputs[asked]
        for output in found:
            if output.block_height is not None and self._block_hash(output.block_height) != output.block_hash:
                raise ChainUnavailable(f"{output.txid} is said to be in a block that the best chain does not have")
        hashes = {height: self._block_hash(height) for height in heights}
        return Reading(self.tip, found, since_height, hashes)

    def finish(self) -> None:
        """What was read holds together only if the chain has not moved meanwhile."""
        if self._chain.tip() != self.tip:
            raise ChainUnavailable("the chain has moved while it was read")

    def _block_hash(self, height: int) -> str | None:
        if height not in self._block_hashes:
            self._block_hashes[height] = self._chain.block_hash(height)
        return self._block_hashes[height]
