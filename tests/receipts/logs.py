"""A log of receipts as RFC 9162, section 2.1, defines it: word by word, slow, and by no code of ours."""

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from coordinator.receipts.signing import Signer
from tests.receipts.issued import unb64

ORIGIN = "log.example.org/receipts"


@dataclass
class Log:
    """The proofs in it, in their order, and who signs its checkpoints."""

    proofs: list[str]
    signer: Signer
    origin: str = ORIGIN

    def checkpoint(self, size: int | None = None) -> str:
        leaves = self._leaves(size)
        text = f"{self.origin}\n{len(leaves)}\n{base64.b64encode(root(leaves)).decode()}\n"
        return f"{text}\n{signature_line(self.signer, self.origin, text)}\n"

    def inclusion(self, index: int, size: int | None = None) -> dict[str, Any]:
        leaves = self._leaves(size)
        return {
            "log_index": index,
            "tree_size": len(leaves),
            "leaf_hash": leaves[index].hex(),
            "path": [step.hex() for step in inclusion_path(index, leaves)],
            "checkpoint": self.checkpoint(size),
        }

    def consistency(self, size: int, to: int | None = None) -> dict[str, Any]:
        path = consistency_path(size, self._leaves(to), whole=True)
        return {"path": [step.hex() for step in path]}

    def _leaves(self, size: int | None) -> list[bytes]:
        return [hashlib.sha256(b"\0" + proof.encode()).digest() for proof in self.proofs[:size]]


def signature_line(signer: Signer, name: str, text: str) -> str:
    """https://c2sp.org/signed-note, of the types 0x01 and 0x02."""
    signature = signer.sign(text.encode())
    x, y = (unb64(signer.public_jwk.get(name, "")) for name in ("x", "y"))
    if signer.algorithm == "Ed25519":
        key = name.encode() + b"\n\x01" + x
    else:
        # SubjectPublicKeyInfo of a point of P-256.
        key = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004") + x + y
        signature = encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
    key_id = hashlib.sha256(key).digest()[:4]
    return f"\u2014 {name} {base64.b64encode(key_id + signature).decode()}"


def root(leaves: list[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return hashlib.sha256(b"\1" + root(leaves[:k]) + root(leaves[k:])).digest()


def inclusion_path(index: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if index < k:
        return [*inclusion_path(index, leaves[:k]), root(leaves[k:])]
    return [*inclusion_path(index - k, leaves[k:]), root(leaves[:k])]


def consistency_path(size: int, leaves: list[bytes], *, whole: bool) -> list[bytes]:
    if size == len(leaves):
        return [] if whole else [root(leaves)]
    k = split(len(leaves))
    if size <= k:
        return [*consistency_path(size, leaves[:k], whole=whole), root(leaves[k:])]
    return [*consistency_path(size - k, leaves[k:], whole=False), root(leaves[:k])]


def split(count: int) -> int:
    """The largest power of two below this."""
    return 1 << (count - 1).bit_length() - 1
