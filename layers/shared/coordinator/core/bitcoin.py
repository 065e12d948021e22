"""The networks of Bitcoin, and what addresses and extended keys tell of themselves."""

import re
from typing import NamedTuple

from coordinator.core.encodings import decode_base58, decode_segwit


class Network(NamedTuple):
    segwit_prefix: str
    p2pkh_version: int
    p2sh_version: int
    # The first block, by which a server shows whose chain it has.
    genesis_hash: str
    # Public servers of the Esplora API, for who names none of his own.
    esplora_urls: tuple[str, ...]


NETWORKS = {
    "mainnet": Network(
        "bc",
        0x00,
        0x05,
        "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
        ("https://blockstream.info/api", "https://mempool.space/api"),
    ),
    "testnet": Network(
        "tb",
        0x6F,
        0xC4,
        "000000000933ea01ad0ee984209779baaec3ced90fa3f408719526f8d77f4943",
        ("https://blockstream.info/testnet/api", "https://mempool.space/testnet/api"),
    ),
    "signet": Network(
        "tb",
        0x6F,
        0xC4,
        "00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6",
        ("https://blockstream.info/signet/api", "https://mempool.space/signet/api"),
    ),
    "regtest": Network("bcrt", 0x6F, 0xC4, "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206", ()),
}

HASH_BYTES, KEY_BYTES = 20, 32
_LONGEST_ADDRESS = 90
# Version, depth, parent, number, chain code, key (BIP-32).
_EXTENDED_KEY_BYTES, _POINT_BYTES = 78, 33
# https://github.com/satoshilabs/slips/blob/master/slip-0132.md: whose keys they are, and whether they are for mainnet.
_PUBLIC_VERSIONS = {"0488b21e": True, "04b24746": True, "043587cf": False, "045f1cf6": False}
_PRIVATE = re.compile(r"\b[xyztuvYZUV]prv[1-9A-HJ-NP-Za-km-z]+")
# One key and the place of the index after it, as wallets export their accounts (BIP-380, 386, 389).
_DESCRIPTOR = re.compile(
    r"(?P<kind>wpkh|tr)\((?:\[[0-9a-fA-F]{8}(?:/[0-9]{1,10}['hH]?)*\])?(?P<key>[1-9A-HJ-NP-Za-km-z]+)"
    r"(?P<path>(?:/[0-9]{1,10}|/<[0-9]{1,10}(?:;[0-9]{1,10})+>)*)/\*\)(?:#[a-z0-9]{8})?",
    re.ASCII,
)
_HARDENED = 2**31
# https://github.com/bitcoin/bips/blob/master/bip-0380.mediawiki#checksum
_CHECKSUM_INPUT = "0123456789()[],'/*abcdefgh@:$%{}IJKLMNOPQRSTUVWXYZ&+-.;<=>?!^_|~ijklmnopqrstuvwxyzABCDEFGH`#\"\\ "
_CHECKSUM_OUTPUT = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_CHECKSUM_GENERATOR = (0xF5DEE51989, 0xA9FDCA3312, 0x1BAB10E32D, 0x3706B1677A, 0x644D626FFD)
# Of secp256k1.
_FIELD = 2**256 - 2**32 - 977


class Destination(NamedTuple):
    """What an address says: a witness program and its version (BIP-141), or a hash and what kind it is of."""

    segwit: bool
    version: int
    payload: bytes


class Account(NamedTuple):
    """Where a wallet's addresses come from: the keys `path`/0, `path`/1, ... below an extended public key."""

    # "wpkh" (BIP-84) or "tr" (BIP-86).
    kind: str
    key: str
    path: tuple[int, ...]


def read_account(text: str, network: str) -> Account:
    """Reads an extended public key, whose receiving addresses are meant (`/0/*`, P2WPKH), or a descriptor of one key.

    Raises:
        ValueError: it is neither, or of another network; the message has no part of it.
    """
    if _PRIVATE.search(text):
        raise ValueError("is a private key: give the public one, and take that one's money away from here")
    match = _DESCRIPTOR.fullmatch(text)
    if match is None and "(" in text:
        raise ValueError("must be like wpkh([fingerprint/84h/0h/0h]xpub.../0/*) or tr(...), with one key and one index")
    account = (
        Account("wpkh", text, (0,)) if match is None else Account(match["kind"], match["key"], _path(match["path"]))
    )
    raw = decode_base58(account.key)
    if raw is None or len(raw) != _EXTENDED_KEY_BYTES or raw[:4].hex() not in _PUBLIC_VERSIONS:
        raise ValueError("must hold an extended public key (xpub, zpub, tpub or vpub)")
    mainnet = _PUBLIC_VERSIONS[raw[:4].hex()]
    if mainnet is not (network == "mainnet"):
        raise ValueError(f"holds a key of {'mainnet' if mainnet else 'a test network'}, not of {network}")
    if not _is_point(raw[-_POINT_BYTES:]):
        raise ValueError("holds no valid key: it is no point of the curve")
    descriptor, _, checksum = text.partition("#")
    if checksum and checksum != _checksum(descriptor):
        raise ValueError("has the checksum of another descriptor")
    return account


def _is_point(key: bytes) -> bool:
    """Tells whether a compressed key is one: by Euler's criterion its x has a y."""
    x = int.from_bytes(key[1:])
    return key[0] in (2, 3) and x < _FIELD and pow(x**3 + 7, (_FIELD - 1) // 2, _FIELD) == 1


def _checksum(descriptor: str) -> str:
    places = [_CHECKSUM_INPUT.index(character) for character in descriptor]
    threes = [places[begin : begin + 3] for begin in range(0, len(places), 3)]
    values = [value for three in threes for value in (*(place & 31 for place in three), _joined(three))]
    check = 1
    for value in (*values, *[0] * 8):
        top = check >> 35
        check = (check & 0x7FFFFFFFF) << 5 ^ value
        for bit, generator in enumerate(_CHECKSUM_GENERATOR):
            check ^= generator if top >> bit & 1 else 0
    check ^= 1
    return "".join(_CHECKSUM_OUTPUT[check >> 5 * (7 - place) & 31] for place in range(8))


def _joined(places: list[int]) -> int:
    joined = 0
    for place in places:
        joined = joined * 3 + (place >> 5)
    return joined


def _path(text: str) -> tuple[int, ...]:
    # Of several branches the first is the one for receiving (BIP-389).
    numbers = tuple(int(step.strip("<").split(";")[0]) for step in text.split("/")[1:])
    if any(number >= _HARDENED for number in numbers):
        raise ValueError(f"must have numbers below {_HARDENED} in its path")
    return numbers


def read_address(address: str, network: str) -> Destination | None:
    """What the text of an address says; None if it is no address.

    A witness program is of this network; whose a hash is, its version tells.
    """
    if not address.isascii() or len(address) > _LONGEST_ADDRESS:
        return None
    if (segwit := decode_segwit(NETWORKS[network].segwit_prefix, address)) is not None:
        return Destination(True, *segwit)
    raw = decode_base58(address)
    return None if raw is None or len(raw) != 1 + HASH_BYTES else Destination(False, raw[0], raw[1:])


def script_of(address: str, network: str) -> bytes | None:
    """What outputs to an address carry (scriptPubKey); None if it is none of this network or of no standard kind.

    P2PKH, P2SH, P2WPKH, P2WSH and P2TR are.
    """
    found = read_address(address, network)
    if found is None:
        return None
    version, payload = found.version, found.payload
    if found.segwit:
        if (version, len(payload)) not in ((0, HASH_BYTES), (0, KEY_BYTES), (1, KEY_BYTES)):
            return None
        # OP_0 or OP_1, then the program (BIP-141, BIP-341).
        return bytes([0x51 if version else 0x00, len(payload)]) + payload
    if version == NETWORKS[network].p2pkh_version:
        return b"\x76\xa9\x14" + payload + b"\x88\xac"
    return b"\xa9\x14" + payload + b"\x87" if version == NETWORKS[network].p2sh_version else None
