"""Wallets: whose an address is, and what its owner has signed.

Only the users' function imports this: it brings the libraries for signatures with it.
"""

from typing import Protocol

from coordinator.core.config import settings
from coordinator.users.bitcoin import parse_bitcoin
from coordinator.users.ethereum import parse_ethereum


class Wallet(Protocol):
    """Who can sign for an address."""

    @property
    def canonical(self) -> str:
        """The one form that all other forms of the address are brought to."""

    @property
    def shown(self) -> str:
        """The form that stands in messages to sign."""

    @property
    def chain(self) -> str:
        """What kind of account it is, for whoever reads the message."""

    def has_signed(self, message: str, signature: str) -> bool:
        """Tells whether this is the wallet's signature of the message."""


def parse_wallet(address: str) -> Wallet:
    """The wallet of an address.

    Raises:
        InvalidWalletAddress: it is none, its checksum is wrong, or it is of another network of Bitcoin than ours.
    """
    return parse_ethereum(address) or parse_bitcoin(address, settings().bitcoin_network)
