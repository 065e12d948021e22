"""How wallets' addresses are written, and the one form of each.

Their text alone tells it, so functions that only pay wallets need no library for signatures.
"""

import re
from dataclasses import dataclass
from enum import Enum

from coordinator.core.bitcoin import HASH_BYTES, KEY_BYTES, NETWORKS, Destination, Network, read_address
from coordinator.users.errors import InvalidWalletAddress

_ETHEREUM = re.compile(r"(?:0x|ait1|aitbc1)([0-9a-fA-F]{40})", re.ASCII)


class Kind(Enum):
    """What a Bitcoin address pays to; the value is the first header byte that BIP-137 gives it."""

    P2PKH_UNCOMPRESSED = 27
    P2PKH = 31
    P2SH_P2WPKH = 35
    P2WPKH = 39
    P2TR = None


@dataclass(frozen=True)
class BitcoinAddress:
    """An address, as it is written in lower case where case makes no difference."""

    canonical: str
    kind: Kind
    payload: bytes


def canonical_form(address: str, network: str) -> str:
    """The one form of a wallet's address; the checksum that the case of Ethereum's may be is not looked at.

    Raises:
        InvalidWalletAddress: it is no wallet's, or of another network of Bitcoin, or pays to what can't sign a message.
    """
    digits = ethereum_digits(address)
    return read_bitcoin(address, network).canonical if digits is None else canonical_ethereum(digits)


def ethereum_digits(address: str) -> str | None:
    """The 20 bytes of an address of Ethereum or AITBC, in digits as they are written; None if it is of another kind."""
    match = _ETHEREUM.fullmatch(address)
    return None if match is None else match[1]


def canonical_ethereum(digits: str) -> str:
    return "0x" + digits.lower()


def read_bitcoin(address: str, network: str) -> BitcoinAddress:
    """What an address of Bitcoin says.

    Raises:
        InvalidWalletAddress: it is none, or of another network, or pays to what can't sign a message here.
    """
    said = read_address(address, network)
    if said is not None:
        found = _read_segwit(address, said) if said.segwit else _read_base58(address, said, NETWORKS[network])
        if found is not None:
            return found
    raise InvalidWalletAddress(f"This is no address of an Ethereum, AITBC or Bitcoin ({network}) wallet.")


def _read_segwit(address: str, said: Destination) -> BitcoinAddress:
    kinds = {(0, HASH_BYTES): Kind.P2WPKH, (1, KEY_BYTES): Kind.P2TR}
    kind = kinds.get((said.version, len(said.payload)))
    if kind is None:
        raise InvalidWalletAddress("Of segwit addresses, only those of one key can log in (P2WPKH and P2TR).")
    return BitcoinAddress(address.lower(), kind, said.payload)


def _read_base58(address: str, said: Destination, network: Network) -> BitcoinAddress | None:
    kinds = {network.p2pkh_version: Kind.P2PKH, network.p2sh_version: Kind.P2SH_P2WPKH}
    kind = kinds.get(said.version)
    return None if kind is None else BitcoinAddress(address, kind, said.payload)
