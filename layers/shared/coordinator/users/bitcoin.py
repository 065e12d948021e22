"""Signatures of Bitcoin: BIP-322 in its simple form, and BIP-137."""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

import bip322
from coincurve import PublicKey
from Crypto.Hash import RIPEMD160

from coordinator.users.addresses import BitcoinAddress, Kind, read_bitcoin
from coordinator.users.secp256k1 import recover

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
class BitcoinWallet(BitcoinAddress):
    """Who has the key to an address."""

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
    return BitcoinWallet(**vars(read_bitcoin(address, network)))


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
