"""How Bitcoin writes addresses: base58 with a checksum, bech32 and bech32m."""

import hashlib

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_BECH32_CHECK, _BECH32M_CHECK = 1, 0x2BC830A3
_CHECKSUM_CHARACTERS, _CHECKSUM_BYTES = 6, 4
_MAX_VERSION = 16


def decode_base58(text: str) -> bytes | None:
    """The bytes before the checksum; None where it is wrong."""
    number = 0
    for character in text:
        digit = _BASE58.find(character)
        if digit < 0:
            return None
        number = number * 58 + digit
    # Each leading 1 is a zero byte.
    zeros = len(text) - len(text.lstrip("1"))
    data = bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8)
    payload, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    expected = hashlib.sha256(hashlib.sha256(payload).digest()).digest()[:_CHECKSUM_BYTES]
    return payload if checksum == expected else None


def decode_segwit(prefix: str, address: str) -> tuple[int, bytes] | None:
    """The version and the program of a segwit address (BIP-173, BIP-350); None if it is none of this network."""
    lower = address.lower()
    if address not in (lower, address.upper()) or not lower.startswith(prefix + "1"):
        return None
    values = [_BECH32.find(character) for character in lower.removeprefix(prefix + "1")]
    if -1 in values or len(values) <= _CHECKSUM_CHARACTERS:
        return None
    version, *data = values[:-_CHECKSUM_CHARACTERS]
    expected = _BECH32_CHECK if version == 0 else _BECH32M_CHECK
    if version > _MAX_VERSION or _polymod([*_expanded(prefix), *values]) != expected:
        return None
    program = _bytes_of(data)
    return None if program is None else (version, program)


def _expanded(prefix: str) -> list[int]:
    return [*(ord(character) >> 5 for character in prefix), 0, *(ord(character) & 31 for character in prefix)]


def _polymod(values: list[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATOR):
            check ^= generator if top >> bit & 1 else 0
    return check


def _bytes_of(groups: list[int]) -> bytes | None:
    """Joins groups of 5 bits; the padding must be shorter than a group and zero."""
    number = 0
    for group in groups:
        number = number << 5 | group
    padding = len(groups) * 5 % 8
    if padding >= 5 or number & ((1 << padding) - 1):  # noqa: PLR2004
        return None
    return (number >> padding).to_bytes(len(groups) * 5 // 8)
