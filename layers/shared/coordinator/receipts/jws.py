"""Compact JWS (RFC 7515) over canonical JSON."""

from aitbc_verify.base64url import encode
from coordinator.core.canonical import canonical_json
from coordinator.receipts.signing import Signer


def sign_compact(payload: dict[str, object], signer: Signer) -> str:
    header = {"alg": signer.algorithm, "kid": signer.kid, "typ": "JWS"}
    signing_input = f"{encode(canonical_json(header).encode())}.{encode(canonical_json(payload).encode())}"
    return f"{signing_input}.{encode(signer.sign(signing_input.encode()))}"
