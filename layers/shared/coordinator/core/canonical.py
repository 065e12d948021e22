"""Canonical JSON (RFC 8785), the form in which parameters and results are stored and hashed."""

import hashlib
from typing import Any

import rfc8785


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


def sha256_hex(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
