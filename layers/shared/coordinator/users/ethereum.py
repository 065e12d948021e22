"""Addresses and signatures of Ethereum, which AITBC's own wallets share: 20 bytes of the hash of a secp256k1 key."""

import re
from dataclasses import dataclass

from Crypto.Hash import keccak

from coordinator.users.addresses import canonical_ethereum, ethereum_digits
from coordinator.users.errors import InvalidWalletAddress
from coordinator.users.secp256k1 import recover

_SIGNATURE = re.compile(r"(?:0x)?([0-9a-f]{130})", re.ASCII)
# https://eips.ethereum.org/EIPS/eip-191, version 0x45: what `personal_sign` signs.
_PREFIX = b"\x19Ethereum Signed Message:\n"
_FIRST_V = 27


@dataclass(frozen=True)
class EthereumWallet:
    """Who has the key to an address."""

    canonical: str
    # As EIP-4361 wants it in the message.
    shown: str
    chain: str = "Ethereum"

    def has_signed(self, message: str, signature: str) -> bool:
        """Tells whether this is the wallet's signature by EIP-191: 65 bytes in hexadecimal digits, r, s and v.

        v is 27 or 28 and s is the lower of its two values, so that no signature has a second form.
        """
        match = _SIGNATURE.fullmatch(signature)
        if match is None:
            return False
        signed = bytes.fromhex(match[1])
        text = message.encode()
        key = recover(_keccak256(_PREFIX + str(len(text)).encode() + text), signed[:64], signed[64] - _FIRST_V, most=1)
        return key is not None and "0x" + _keccak256(key.format(compressed=False)[1:])[-20:].hex() == self.canonical


def parse_ethereum(address: str) -> EthereumWallet | None:
    """The wallet of an address of this kind; None if it is of another one.

    Raises:
        InvalidWalletAddress: it is in mixed case, and not as its checksum (EIP-55) has it.
    """
    digits = ethereum_digits(address)
    if digits is None:
        return None
    checksummed = _checksummed(digits.lower())
    if digits not in (digits.lower(), digits.upper(), checksummed):
        raise InvalidWalletAddress("The checksum of this address is wrong: a character is, or the case of one.")
    return EthereumWallet(canonical_ethereum(digits), "0x" + checksummed)


def _checksummed(digits: str) -> str:
    """https://eips.ethereum.org/EIPS/eip-55."""
    digest = _keccak256(digits.encode()).hex()
    return "".join(
        digit.upper() if int(nibble, 16) >= 8 else digit  # noqa: PLR2004  (its highest bit)
        for digit, nibble in zip(digits, digest, strict=False)
    )


def _keccak256(data: bytes) -> bytes:
    return keccak.new(data=data, digest_bits=256).digest()
