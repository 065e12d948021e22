"""Compact JWS (RFC 7515) over JSON, as strictly as RFC 8725 asks."""

from typing import Any

from aitbc_verify import base64url, canonical, keys
from aitbc_verify.errors import NotVerified

# Ten times what a receipt takes.
_LONGEST = 16 * 1024
_PARTS = 3


def verified_payload(proof: str, jwks: Any) -> dict[str, Any]:
    """What a proof states, if one of these keys has signed it.

    The key is found by its id and tells itself by which algorithm it signs; a header that differs is not believed.

    Raises:
        NotVerified: the proof is malformed, or no key of the set has signed it.
    """
    if len(proof) > _LONGEST:
        raise NotVerified(f"longer than {_LONGEST} characters, as no receipt is")
    parts = proof.split(".")
    if len(parts) != _PARTS:
        raise NotVerified("no compact JWS, which has three parts")
    try:
        header, payload, signature = (base64url.decode(part) for part in parts)
        stated = canonical.parse(header)
    except ValueError as error:
        raise NotVerified(f"the proof is malformed: {error}") from error
    key = _key_of(stated, jwks)
    if not key.verifies(signature, f"{parts[0]}.{parts[1]}".encode()):
        raise NotVerified("the signature is not this key's")
    try:
        statement = canonical.parse(payload)
    except ValueError as error:
        raise NotVerified(f"what was signed is malformed: {error}") from error
    if not isinstance(statement, dict):
        raise NotVerified("what was signed is no JSON object")
    return statement


def _key_of(header: Any, jwks: Any) -> keys.PublicKey:
    if not isinstance(header, dict) or not isinstance(header.get("kid"), str):
        raise NotVerified("the header does not name a key")
    # Extensions that must be understood (RFC 7515, section 4.1.11; RFC 7797): we know none.
    if "crit" in header or "b64" in header:
        raise NotVerified("the header asks for an extension")
    key = keys.find_key(jwks, header["kid"])
    if header.get("alg") != key.algorithm:
        raise NotVerified(f"the header says {header.get('alg')!r}, but the key signs by {key.algorithm}")
    return key
