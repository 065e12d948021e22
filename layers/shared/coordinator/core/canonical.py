"""Canonical JSON (RFC 8785), the form in which parameters and results are stored and hashed."""

import hashlib
from typing import Any

import rfc8785

from coordinator.core.errors import InvalidInput, PayloadTooLarge


def canonical_json(value: Any) -> str:
    """Writes a JSON value in its one canonical form.

    Raises:
        ValueError: it has a number that RFC 8785 can't carry (beyond 2^53 - 1, or not finite) or text that is
            not Unicode.
    """
    try:
        return rfc8785.dumps(value).decode()
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise ValueError(str(error)) from error


def canonical_field(name: str, value: Any) -> str:
    """The canonical form of a field of a body.

    Raises:
        InvalidInput: it has none.
        PayloadTooLarge: it is larger than a body may be.
    """
    try:
        text = canonical_json(value)
    except ValueError as error:
        raise InvalidInput.at("body", name, message=str(error), kind="not_canonical_json") from error
    # It writes out numbers that a body may give with an exponent.
    if len(text.encode()) > PayloadTooLarge.most_bytes:
        raise PayloadTooLarge(f"In canonical JSON {name} is larger than 1 MiB.")
    return text


def sha256_hex(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
