"""Checkpoints of a log (https://c2sp.org/tlog-checkpoint): how large it is and what its tree hashes to, signed."""

import base64
import hashlib
import re
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from aitbc_verify.errors import NotVerified
from aitbc_verify.keys import Ed25519Key, P256Key, usable_keys

_ROOT_BYTES = 32
_KEY_ID_BYTES = 4
# One form of each number, below 2^63.
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_SIGNATURE_MARK = "\u2014 "
# https://c2sp.org/signed-note, "Signature types".
_ED25519 = b"\x01"


class Checkpoint(NamedTuple):
    """What the log's key has signed: a tree of so many entries with this root, of the log of this name."""

    origin: str
    size: int
    root: bytes


def verified_checkpoint(note: str, jwks: Any) -> Checkpoint:
    """Reads a checkpoint that one of these keys has signed.

    Signatures of others, such as witnesses, may stand beside it and are not looked at.

    Raises:
        NotVerified: it is malformed, or none of the keys has signed it.
    """
    text, found, signatures = note.rpartition("\n\n")
    if not found or not signatures.endswith("\n"):
        raise NotVerified("no checkpoint: it has no signatures below an empty line")
    text += "\n"
    checkpoint = _read(text)
    usable = usable_keys(jwks)
    ours = False
    for name, key_id, signature in map(_signature_line, signatures[:-1].split("\n")):
        for key in usable:
            if name == checkpoint.origin and note_key_id(name, key) == key_id:
                if not _verifies(key, signature, text.encode()):
                    raise NotVerified("the checkpoint's signature is wrong")
                ours = True
    if not ours:
        raise NotVerified("none of the published keys has signed the checkpoint")
    return checkpoint


def _read(text: str) -> Checkpoint:
    # Below these lines there may be others, each with an end.
    origin, size, root, *_ = (*text.split("\n"), "", "", "")
    if not origin or not _SIZE.fullmatch(size):
        raise NotVerified("no checkpoint: it does not begin with a name and a size")
    try:
        decoded = _decode(root)
    except ValueError:
        decoded = b""
    if len(decoded) != _ROOT_BYTES:
        raise NotVerified("no checkpoint: its third line is no root")
    return Checkpoint(origin, int(size), decoded)


def _signature_line(line: str) -> tuple[str, bytes, bytes]:
    name, _, encoded = line.removeprefix(_SIGNATURE_MARK).rpartition(" ")
    try:
        signature = _decode(encoded)
    except ValueError as error:
        raise NotVerified("a signature of the checkpoint is malformed") from error
    if not line.startswith(_SIGNATURE_MARK) or not name or len(signature) <= _KEY_ID_BYTES:
        raise NotVerified("a signature of the checkpoint is malformed")
    return name, signature[:_KEY_ID_BYTES], signature[_KEY_ID_BYTES:]


def note_key_id(name: str, key: Ed25519Key | P256Key) -> bytes:
    """What notes name a key by that signs under this name; each of the two types has its own rule."""
    if isinstance(key, Ed25519Key):
        named = f"{name}\n".encode() + _ED25519 + key.raw
    else:
        named = key.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(named).digest()[:_KEY_ID_BYTES]


def _verifies(key: Ed25519Key | P256Key, signature: bytes, message: bytes) -> bool:
    if isinstance(key, Ed25519Key):
        return key.verifies(signature, message)
    # Notes have them as ASN.1, unlike JOSE.
    try:
        key.key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _decode(text: str) -> bytes:
    decoded = base64.b64decode(text, validate=True)
    if base64.b64encode(decoded).decode() != text:
        raise ValueError("not canonical base64")
    return decoded
