"""Checks a receipt offline: with the published keys, and with what the client itself has sent and received."""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class NotVerified(Exception):
    """The receipt does not prove what it should; the message says what is wrong."""


def verify_receipt(receipt: Mapping[str, Any], jwks: Mapping[str, Any], parameters: Any, result: Any) -> dict[str, Any]:
    """Verifies the proof (a compact JWS, RFC 7515) and gives the statement that it signs.

    Args:
        receipt: as the API gave it.
        jwks: the coordinator's public keys (RFC 7517).
        parameters: what the client has sent with the job.
        result: what the client has received.

    Raises:
        NotVerified: the signature is wrong, or the statement is about something else.
    """
    statement = _signed_payload(str(receipt["proof"]), jwks)
    expected = {
        "sub": receipt["id"],
        "job_id": receipt["job_id"],
        "miner_id": receipt["miner_id"],
        "client_id": receipt["client_id"],
        "parameters_sha256": _hash(parameters),
        "result_sha256": _hash(result),
    }
    for name, value in expected.items():
        if statement.get(name) != value:
            raise NotVerified(f"{name} is {statement.get(name)!r} in the proof, not {value!r}")
    return statement


def _signed_payload(proof: str, jwks: Mapping[str, Any]) -> dict[str, Any]:
    try:
        encoded_header, encoded_payload, encoded_signature = proof.split(".")
        header = json.loads(_decode(encoded_header))
        key = next(key for key in jwks["keys"] if key["kid"] == header["kid"])
        # The key says how it signs; a proof that says otherwise is not believed (RFC 8725, section 3.1).
        if (header["alg"], key["alg"], key["kty"], key["crv"]) != ("Ed25519", "Ed25519", "OKP", "Ed25519"):
            raise NotVerified(f"algorithm {header['alg']!r} is not this key's")
        public_key = Ed25519PublicKey.from_public_bytes(_decode(key["x"]))
        public_key.verify(_decode(encoded_signature), f"{encoded_header}.{encoded_payload}".encode())
        payload: dict[str, Any] = json.loads(_decode(encoded_payload))
    except InvalidSignature:
        raise NotVerified("the signature is wrong") from None
    except StopIteration:
        raise NotVerified("no published key has signed it") from None
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise NotVerified(f"the proof is malformed: {error}") from error
    return payload


def _hash(value: Any) -> str:
    return hashlib.sha256(rfc8785.dumps(value)).hexdigest()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
