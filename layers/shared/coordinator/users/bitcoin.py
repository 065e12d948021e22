"""Addresses and signatures of Bitcoin: BIP-322 in its simple form, and BIP-137."""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import bip322
from coincurve import PublicKey
from Crypto.Hash import RIPEMD160

from coordinator.users.encodings import decode_base58, decode_segwit
from coordinator.users.errors import InvalidWalletAddress
from coordinator.users.secp256k1 import recover


class Kind(Enum):
    """What an address pays to; the value is the first header byte that BIP-137 gives it."""

    P2PKH_UNCOMPRESSED = 27
    P2PKH = 31
    P2SH_P2WPKH = 35
    P2WPKH = 39
    P2TR = None


class _Network(NamedTuple):
    segwit_prefix: str
    p2pkh_version: int
    p2sh_version: int


_NETWORKS = {
    "mainnet": _Network("bc", 0x00, 0x05),
    "testnet": _Network("tb", 0x6F, 0xC4),
    "signet": _Network("tb", 0x6F, 0xC4),
    "regtest": _Network("bcrt", 0x6F, 0xC4),
}
_LONGEST_ADDRESS = 90
_HASH_BYTES, _KEY_BYTES = 20, 32
_PREFIX = b"\x18Bitcoin Signed Message:\n"
_COMPACT_BYTES = 65
# What the name of the form may stand before, in texts by the newer version of BIP-322.
_SIMPLE = "smp"
# The whole witness, byte by byte: the library passes over what follows it. A DER signature with SIGHASH_ALL and a
# compressed key; a Schnorr signature, with SIGHASH_ALL or without a byte for it.
_WITNESS = {
    Kind.P2WPKH: re.compile(rb"\x02(?:[\x08-\x49])(\x30.{6,71}\x01)\x21[\x02\x03].{32}", re.DOTALL),
    Kind.P2TR: re.compile(rb"\x01(?:\x40(.{64})|\x41(.{64}\x01))", re.DOTALL),
}


@dataclass(frozen=True)
class BitcoinWallet:
    """An address, as it is written in lower case where case makes no difference."""

    canonical: str
    kind: Kind
    payload: bytes
    chain: str = "Bitcoin"

    @property
    def shown(self) -> str:
        return self.canonical

    def has_signed(self, message: str, signature: str) -> bool:
        """Tells whether this is the wallet's signature, in base64: 65 bytes are one by BIP-137, others by BIP-322."""
        signed = _decode_base64(signature.removeprefix(_SIMPLE))
        if signed is None:
            return False
        if len(signed) == _COMPACT_BYTES and not signature.startswith(_SIMPLE):
            return self._has_signed_bip137(message.encode(), signed)
        return self._has_signed_bip322(message, signed)

    def _has_signed_bip137(self, message: bytes, signed: bytes) -> bool:
        """https://github.com/bitcoin/bips/blob/master/bip-0137.mediawiki: the header names the kind of address."""
        kinds = (Kind.P2PKH_UNCOMPRESSED, Kind.P2PKH) if self.kind is Kind.P2PKH else (self.kind,)
        for kind in kinds:
            if kind.value is None or not kind.value <= signed[0] < kind.value + 4:
                continue
            digest = _sha256(_sha256(_PREFIX + _compact_size(len(message)) + message))
            key = recover(digest, signed[1:], signed[0] - kind.value, most=3)
            return key is not None and _payload_of(key, kind) == self.payload
        return False

    def _has_signed_bip322(self, message: str, witness: bytes) -> bool:
        form = _WITNESS.get(self.kind)
        if form is None or not _fills(form, witness):
            return False
        try:
            # None in this version, True by its type hints.
            return bip322.verify_simple_encoded(self.canonical, message, base64.b64encode(witness).decode()) in (
                None,
                True,
            )
        except bip322.VerificationError:
            return False


def parse_bitcoin(address: str, network: str) -> BitcoinWallet:
    """The wallet of an address.

    Raises:
        InvalidWalletAddress: it is none, or of another network, or pays to what can't sign a message here.
    """
    if len(address) <= _LONGEST_ADDRESS and address.isascii():
        chosen = _NETWORKS[network]
        wallet = _parse_segwit(address, chosen.segwit_prefix) or _parse_base58(address, chosen)
        if wallet is not None:
            return wallet
    raise InvalidWalletAddress(f"This is no address of an Ethereum, AITBC or Bitcoin ({network}) wallet.")


def _parse_segwit(address: str, prefix: str) -> BitcoinWallet | None:
    decoded = decode_segwit(prefix, address)
    if decoded is None:
        return None
    version, program = decoded
    kinds = {(0, _HASH_BYTES): Kind.P2WPKH, (1, _KEY_BYTES): Kind.P2TR}
    kind = kinds.get((version, len(program)))
    if kind is None:
        raise InvalidWalletAddress("Of segwit addresses, only those of one key can log in (P2WPKH and P2TR).")
    return BitcoinWallet(address.lower(), kind, program)


def _parse_base58(address: str, network: _Network) -> BitcoinWallet | None:
    decoded = decode_base58(address)
    if decoded is None or len(decoded) != 1 + _HASH_BYTES:
        return None
    kinds = {network.p2pkh_version: Kind.P2PKH, network.p2sh_version: Kind.P2SH_P2WPKH}
    kind = kinds.get(decoded[0])
    return None if kind is None else BitcoinWallet(address, kind, decoded[1:])


def _payload_of(key: PublicKey, kind: Kind) -> bytes:
    hashed = _hash160(key.format(compressed=kind is not Kind.P2PKH_UNCOMPRESSED))
    # A script hash is that of the version 0 and the key's hash (BIP-141).
    return _hash160(b"\x00\x14" + hashed) if kind is Kind.P2SH_P2WPKH else hashed


def _fills(form: re.Pattern[bytes], witness: bytes) -> bool:
    """Tells whether a witness has the form, and its first item the length that it states."""
    match = form.fullmatch(witness)
    return match is not None and witness[1] == len(next(filter(None, match.groups())))


def _decode_base64(text: str) -> bytes | None:
    """Only what is written as base64 is always written: no white space, all of the padding, no bits left over."""
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return decoded if base64.b64encode(decoded).decode() == text else None


def _compact_size(number: int) -> bytes:
    """https://developer.bitcoin.org/reference/transactions.html#compactsize-unsigned-integers, up to two bytes."""
    return bytes([number]) if number < 0xFD else b"\xfd" + number.to_bytes(2, "little")  # noqa: PLR2004


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _hash160(data: bytes) -> bytes:
    return RIPEMD160.new(_sha256(data)).digest()
