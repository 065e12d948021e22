"""Who signs receipts."""

from typing import Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from aitbc_verify.base64url import encode
from aitbc_verify.keys import thumbprint
from coordinator.core.config import from_secrets, settings


class Signer(Protocol):
    """A private key: `sign` gives the raw signature bytes of JOSE for `algorithm`."""

    @property
    def algorithm(self) -> str: ...

    @property
    def remote(self) -> bool:
        """Whether it is asked over the network, so never inside a transaction; see `Pen`."""

    @property
    def kid(self) -> str: ...

    @property
    def public_jwk(self) -> dict[str, str]: ...

    def sign(self, message: bytes) -> bytes:
        """Signs.

        Raises:
            SigningUnavailable: whoever holds the key can't be asked, or refuses.
        """


class Ed25519Signer:
    """Signs with a key derived from SECRET_KEY, so that every environment has the same one and none is stored."""

    # RFC 9864 names the curve in the algorithm; "EdDSA" left it open.
    algorithm = "Ed25519"
    remote = False

    def __init__(self, secret_key: str) -> None:
        seed = HKDF(hashes.SHA256(), 32, salt=None, info=b"aitbc-coordinator receipt signing v1")
        self._key = Ed25519PrivateKey.from_private_bytes(seed.derive(secret_key.encode()))
        self.public_jwk = published(
            {"kty": "OKP", "crv": "Ed25519", "x": encode(self._key.public_key().public_bytes_raw())}, self.algorithm
        )
        self.kid = self.public_jwk["kid"]

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


@from_secrets
def receipt_signer() -> Signer:
    """The signer of this process.

    Raises:
        SigningUnavailable: KMS can't be asked for the public key, or refuses.
    """
    if key_id := settings().receipt_kms_key_id:
        # Few processes need boto3, which takes long to import.
        from coordinator.receipts.kms import KmsSigner  # noqa: PLC0415

        return KmsSigner(key_id)
    return Ed25519Signer(settings().secret_key)


def published(key: dict[str, str], algorithm: str) -> dict[str, str]:
    """The JWK of a public key with all that verifiers need to know."""
    return {**key, "kid": thumbprint(key), "alg": algorithm, "use": "sig"}
