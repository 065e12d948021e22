"""Public keys as a coordinator publishes them (RFC 7517), of the two kinds that sign receipts."""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from aitbc_verify import base64url
from aitbc_verify.errors import NotVerified

_COORDINATE_BYTES = 32


class PublicKey(Protocol):
    """A public key that can be used for one algorithm only, which the key itself tells."""

    algorithm: str

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Tells whether a signature, in the raw form of JOSE, is this key's over the message."""


class Ed25519Key:
    """An Octet Key Pair (RFC 8037), used as RFC 9864 says."""

    algorithm = "Ed25519"

    def __init__(self, jwk: Mapping[str, Any]) -> None:
        self.raw = base64url.decode(jwk["x"])
        self._key = Ed25519PublicKey.from_public_bytes(self.raw)

    def verifies(self, signature: bytes, message: bytes) -> bool:
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


class P256Key:
    """A key of the curve P-256 (RFC 7518, sections 3.4 and 6.2)."""

    algorithm = "ES256"

    def __init__(self, jwk: Mapping[str, Any]) -> None:
        x, y = (base64url.decode(jwk[name]) for name in ("x", "y"))
        if len(x) != _COORDINATE_BYTES or len(y) != _COORDINATE_BYTES:
            raise ValueError("a coordinate has not 32 bytes")
        numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), ec.SECP256R1())
        # Refuses a point that is not on the curve.
        self.key = numbers.public_key()

    def verifies(self, signature: bytes, message: bytes) -> bool:
        if len(signature) != 2 * _COORDINATE_BYTES:
            return False
        r, s = (int.from_bytes(half) for half in (signature[:_COORDINATE_BYTES], signature[_COORDINATE_BYTES:]))
        try:
            self.key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


_KINDS: Mapping[str, type[Ed25519Key] | type[P256Key]] = {"OKP Ed25519": Ed25519Key, "EC P-256": P256Key}


def find_key(jwks: Any, kid: str) -> Ed25519Key | P256Key:
    """The one key of a JWK Set that has this id.

    Raises:
        NotVerified: there is none, there are several, or it is not fit to verify signatures.
    """
    named = [key for key in _keys_of(jwks) if key.get("kid") == kid]
    if not named:
        raise NotVerified(f"none of the published keys is {kid!r}")
    if len(named) > 1:
        raise NotVerified(f"several published keys are {kid!r}")
    return read_key(named[0])


def usable_keys(jwks: Any) -> list[Ed25519Key | P256Key]:
    """Those keys of a JWK Set that may have signed something; others in it are passed over (RFC 7517, section 5)."""
    usable = []
    for key in _keys_of(jwks):
        with suppress(NotVerified):
            usable.append(read_key(key))
    return usable


def read_key(jwk: Mapping[str, Any]) -> Ed25519Key | P256Key:
    """Makes a key of its JWK; whatever else the JWK says of its use must fit.

    Raises:
        NotVerified: it is a key of another kind, is damaged, or is for something else.
    """
    kind = _KINDS.get(f"{jwk.get('kty')} {jwk.get('crv')}")
    if kind is None:
        raise NotVerified("the key is neither Ed25519 nor P-256")
    if jwk.get("alg", kind.algorithm) != kind.algorithm or jwk.get("use", "sig") != "sig":
        raise NotVerified(f"the key is not for signatures of {kind.algorithm}")
    try:
        return kind(jwk)
    except (KeyError, TypeError, ValueError) as error:
        raise NotVerified(f"the key is damaged: {error}") from error


def _keys_of(jwks: Any) -> list[Mapping[str, Any]]:
    keys = jwks.get("keys") if isinstance(jwks, Mapping) else None
    if not isinstance(keys, list):
        raise NotVerified("the keys are no JWK Set")
    return [key for key in keys if isinstance(key, Mapping)]


def thumbprint(jwk: Mapping[str, str]) -> str:
    """Names a key by what it is (RFC 7638)."""
    required = {name: jwk[name] for name in ("crv", "kty", "x", "y") if name in jwk}
    return base64url.encode(hashlib.sha256(rfc8785.dumps(required)).digest())
