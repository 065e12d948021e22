"""Receipts signed by a key that never leaves AWS KMS (ECC_NIST_P256)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key

from aitbc_verify.base64url import encode
from coordinator.core.errors import ConfigurationError
from coordinator.core.log import log_exception
from coordinator.receipts.errors import SigningUnavailable
from coordinator.receipts.signing import published

# A request may need the public key and a signature, in 30 s with everything else.
_CALLS = Config(
    connect_timeout=1, read_timeout=2, retries={"mode": "standard", "total_max_attempts": 3}, tcp_keepalive=True
)
_COORDINATE_BYTES = 32
# arn:aws:kms:REGION:ACCOUNT:key/ID
_REGION_OF_ARN = 3


class KmsSigner:
    """Signs by calls to KMS; the public key is asked for once.

    KMS hashes the message itself (`RAW`), so it signs what verifiers will see and not what we say is its hash.
    """

    algorithm = "ES256"
    remote = True

    def __init__(self, key_id: str) -> None:
        self._key_id = key_id
        with _told():
            self._kms: Any = boto3.client("kms", region_name=_region_of(key_id), config=_CALLS)
            self.public_jwk = self._fetch_public_jwk()
        self.kid = self.public_jwk["kid"]

    def sign(self, message: bytes) -> bytes:
        with _told():
            answer = self._kms.sign(
                KeyId=self._key_id, Message=message, MessageType="RAW", SigningAlgorithm="ECDSA_SHA_256"
            )
        r, s = decode_dss_signature(answer["Signature"])
        return r.to_bytes(_COORDINATE_BYTES) + s.to_bytes(_COORDINATE_BYTES)

    def _fetch_public_jwk(self) -> dict[str, str]:
        key = load_der_public_key(self._kms.get_public_key(KeyId=self._key_id)["PublicKey"])
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ConfigurationError("RECEIPT_KMS_KEY_ID must name a key of the kind ECC_NIST_P256")
        point = key.public_numbers()
        x, y = (encode(coordinate.to_bytes(_COORDINATE_BYTES)) for coordinate in (point.x, point.y))
        return published({"kty": "EC", "crv": "P-256", "x": x, "y": y}, self.algorithm)


@contextmanager
def _told() -> Iterator[None]:
    """The log says why KMS has not done what it should; callers learn that it was not their fault."""
    try:
        yield
    except (BotoCoreError, ClientError, ConfigurationError) as error:
        log_exception("receipts can't be signed", error)
        raise SigningUnavailable from error


def _region_of(key_id: str) -> str | None:
    """The region that an ARN names; else it is that of the process."""
    return key_id.split(":")[_REGION_OF_ARN] if key_id.startswith("arn:") else None
