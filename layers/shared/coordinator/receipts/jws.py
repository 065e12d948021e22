"""Compact JWS (RFC 7515) over canonical JSON."""

import base64

from coordinator.core.canonical import canonical_json
from coordinator.receipts.signing import Signer


def sign_compact(payload: dict[str, object], signer: Signer) -> str:
    header = {"alg": signer.algorithm, "kid": signer.kid, "typ": "JWS"}
    signing_input = f"{_encode(canonical_json(header).encode())}.{_encode(canonical_json(payload).encode())}"
    return f"{signing_input}.{_encode(signer.sign(signing_input.encode()))}"


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
