"""Who signs receipts."""

import base64
from functools import cache
from typing import Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from coordinator.core.canonical import canonical_json
from coordinator.core.config import settings


class Signer(Protocol):
    """A private key: `sign` gives the raw signature bytes of JOSE for `algorithm`."""

    algorithm: str
    kid: str
    public_jwk: dict[str, str]

    def sign(self, message: bytes) -> bytes: ...


class Ed25519Signer:
    """Signs with a key derived from SECRET_KEY, so that every environment has the same one and none is stored."""

    # RFC 9864 names the curve in the algorithm; "EdDSA" left it open.
    algorithm = "Ed25519"

    def __init__(self, secret_key: str) -> None:
        seed = HKDF(hashes.SHA256(), 32, salt=None, info=b"aitbc-coordinator receipt signing v1")
        self._key = Ed25519PrivateKey.from_private_bytes(seed.derive(secret_key.encode()))
        x = _base64url(self._key.public_key().public_bytes_raw())
        self.kid = _thumbprint({"crv": "Ed25519", "kty": "OKP", "x": x})
        self.public_jwk = {
            "kty": "OKP",
            "crv": "Ed25519",
            "x": x,
            "kid": self.kid,
            "alg": self.algorithm,
            "use": "sig",
        }

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


@cache
def receipt_signer() -> Signer:
    return Ed25519Signer(settings().secret_key)


def _thumbprint(required_members: dict[str, str]) -> str:
    """Names a key by its content (RFC 7638)."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(canonical_json(required_members).encode())
    return _base64url(digest.finalize())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
