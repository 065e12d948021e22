"""JSON as what is verified has it: with one meaning, and hashed in its canonical form (RFC 8785)."""

import hashlib
import json
from typing import Any

import rfc8785

from aitbc_verify.errors import NotVerified


def parse(text: str | bytes) -> Any:
    """The value that this text stands for.

    Raises:
        ValueError: it is no JSON, has a name twice in an object, or is nested too deep.
    """
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deep") from None


def sha256_hex(value: Any) -> str:
    """SHA-256 over the canonical form of a value.

    Raises:
        NotVerified: it has no canonical form, so no receipt can be about it.
    """
    return hashlib.sha256(_canonical(value)).hexdigest()


def same(one: Any, other: Any) -> bool:
    """Tells whether two values are the same JSON: 3.0 is 3, but true is not 1."""
    return _canonical(one) == _canonical(other)


def _canonical(value: Any) -> bytes:
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as error:
        raise NotVerified(f"it can't be written as RFC 8785 JSON: {error}") from error


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(members)
    if len(value) != len(members):
        raise ValueError("a name stands twice in an object")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
