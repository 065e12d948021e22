"""Receipts as a coordinator issues them, of signers of both kinds, without a database."""

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import rfc8785
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from coordinator.receipts.jws import sign_compact
from coordinator.receipts.signing import Ed25519Signer, Signer, published

SECRET_KEY = "a-test-secret-0123456789-abcdefghijklmnop"
MINER_KEY = Ed25519PrivateKey.from_private_bytes(b"m" * 32)
JOB_ID, OTHER_JOB_ID = "0199a3c4-5a1e-7c3b-8f52-3d9b7a1c2e4f", "0199a3c4-7b3d-7e10-a2c4-1f0e9d8c7b6a"
RESULT = {"text": "Paris", "tokens": [1, 2.5, None, True], "usage": {"completion_tokens": 3}}
PARAMETERS = {"prompt": "The capital of France is", "temperature": 0.5}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "==")


def sha256(value: Any) -> str:
    return hashlib.sha256(rfc8785.dumps(value)).hexdigest()


class P256Signer:
    """What KMS does, in this process."""

    algorithm = "ES256"
    remote = False

    def __init__(self) -> None:
        self._key = ec.derive_private_key(0x5EC4E7, ec.SECP256R1())
        point = self._key.public_key().public_numbers()
        x, y = (b64(coordinate.to_bytes(32)) for coordinate in (point.x, point.y))
        self.public_jwk = published({"kty": "EC", "crv": "P-256", "x": x, "y": y}, self.algorithm)
        self.kid = self.public_jwk["kid"]

    def sign(self, message: bytes) -> bytes:
        r, s = decode_dss_signature(self._key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True)))
        return r.to_bytes(32) + s.to_bytes(32)


SIGNERS: dict[str, Signer] = {"Ed25519": Ed25519Signer(SECRET_KEY), "ES256": P256Signer()}


@dataclass
class Issued:
    """A receipt, as the API shows it, with all that it can be checked by."""

    signer: Signer
    receipt: dict[str, Any]
    parameters: Any = field(default_factory=lambda: dict(PARAMETERS))

    @property
    def jwks(self) -> dict[str, Any]:
        # Among others, as after several changes of the key.
        others = [other.public_jwk for other in SIGNERS.values() if other is not self.signer]
        return {"keys": [*others, self.signer.public_jwk]}

    @property
    def proof(self) -> str:
        return str(self.receipt["proof"])

    @property
    def statement(self) -> dict[str, Any]:
        return dict(json.loads(unb64(self.proof.split(".")[1])))


def issued(algorithm: str = "Ed25519", job_id: str = JOB_ID, result: Any = RESULT) -> Issued:
    signer = SIGNERS[algorithm]
    stated = {
        "job_id": job_id,
        "client_id": "0199a3b0-0d4c-7a86-9e1b-5c2f7d3a4b10",
        "miner_id": "0199a3b1-44f0-7d29-b6a7-8e4c1d2f3a55",
        "parameters_sha256": sha256(PARAMETERS),
        "result_sha256": sha256(result),
        "units": 3.0,
        "unit_type": "tokens",
        "price": "0.5",
        "started_at": "2026-01-31T12:00:00.412503Z",
        "completed_at": "2026-01-31T12:00:02.087114Z",
    }
    signature = MINER_KEY.sign(f"{job_id}.lease-token.{stated['result_sha256']}".encode())
    receipt_id = job_id[:-1] + "0"
    statement = {
        **stated,
        "iss": "aitbc-coordinator",
        "sub": receipt_id,
        "iat": 1769860802,
        "version": 1,
        "attempt": 1,
        "job_type": "llm_inference",
        "miner_address": "ait1f39fd6e51aad88f6f4ce6ab8827279cfffb92266",
        "miner_signature": b64(signature),
        "miner_public_key": b64(MINER_KEY.public_key().public_bytes_raw()),
        "lease_token": "lease-token",
        "log_index": None,
    }
    proof = sign_compact(statement, signer)
    shown = {**stated, "id": receipt_id, "created_at": stated["completed_at"], "result": result, "proof": proof}
    return Issued(signer, shown)
