"""What a receipt states and what of it can be checked; see docs/verify.md."""

from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from aitbc_verify import base64url, canonical
from aitbc_verify.errors import NotVerified
from aitbc_verify.jws import verified_payload

_VERSION = 1
_TEXTS = (
    *("iss", "sub", "job_id", "job_type", "client_id", "miner_id", "miner_address"),
    *("parameters_sha256", "result_sha256", "unit_type", "price", "started_at", "completed_at"),
)
# What may be shown beside a proof, and where the statement has the same.
_SHOWN = {
    "id": "sub",
    **{name: name for name in (*_TEXTS, "attempt", "units")},
    # A receipt is made when the result is taken.
    "created_at": "completed_at",
}


def verified_statement(proof: str, jwks: Any) -> dict[str, Any]:
    """What a receipt's proof states, if one of these keys has signed it.

    Raises:
        NotVerified: none has, or what it has signed is no receipt.
    """
    statement = verified_payload(proof, jwks)
    if statement.get("version") != _VERSION:
        raise NotVerified(f"what was signed is no receipt of version {_VERSION}")
    missing = [name for name in _TEXTS if not isinstance(statement.get(name), str)]
    if missing:
        raise NotVerified(f"what was signed is no receipt, as it does not state {', '.join(missing)}")
    return statement


def require_same(statement: Mapping[str, Any], *receipts: Mapping[str, Any]) -> None:
    """Compares all that is shown beside a proof with what the proof states.

    Raises:
        NotVerified: they differ.
    """
    for receipt in receipts:
        for shown, stated in _SHOWN.items():
            if shown in receipt and not canonical.same(receipt[shown], statement.get(stated)):
                raise NotVerified(f"{shown} is {receipt[shown]!r}, but the proof states {statement.get(stated)!r}")


def require_hash(statement: Mapping[str, Any], name: str, *values: Any) -> None:
    """Requires that a receipt is about this result or these parameters, as `name` says.

    Raises:
        NotVerified: it is about another value.
    """
    stated = statement[f"{name}_sha256"]
    for value in values:
        sha256 = canonical.sha256_hex(value)
        if sha256 != stated:
            raise NotVerified(f"its SHA-256 is {sha256}, but the receipt is about {stated}")


def is_signed_by_miner(statement: Mapping[str, Any]) -> bool:
    """Tells whether the miner has signed the result too; False if the miner had no key.

    Raises:
        NotVerified: the signature is wrong, or the receipt is one of those that don't say what it is about.
    """
    signature, lease_token, public_key = (
        statement.get(name) for name in ("miner_signature", "lease_token", "miner_public_key")
    )
    if signature is None:
        return False
    if not (isinstance(signature, str) and isinstance(lease_token, str) and isinstance(public_key, str)):
        raise NotVerified("the receipt does not carry the miner's key")
    if not miner_has_signed(public_key, signature, statement["job_id"], lease_token, statement["result_sha256"]):
        raise NotVerified("the miner's signature is not of this result")
    return True


def miner_has_signed(public_key: str, signature: str, job_id: str, lease_token: str, result_sha256: str) -> bool:
    """Tells whether the holder of this key (Ed25519) has delivered this result, for this job, by this lease.

    Miners write base64url with or without padding.
    """
    try:
        key = Ed25519PublicKey.from_public_bytes(base64url.decode_leniently(public_key))
        key.verify(base64url.decode_leniently(signature), f"{job_id}.{lease_token}.{result_sha256}".encode())
    except (InvalidSignature, ValueError):
        return False
    return True
