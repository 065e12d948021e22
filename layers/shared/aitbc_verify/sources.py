"""Reads what is given as a file or a URL."""

import http.client
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from aitbc_verify import canonical

_SECONDS = 20
_MOST_BYTES = 16 * 1024 * 1024


class Unreadable(Exception):
    """Something can't be had, so nothing is known of it; the message says what."""


def read_text(source: str) -> str:
    """The text at a URL, in a file, or for "-" on standard input.

    Raises:
        Unreadable: it can't be had, or is no text.
    """
    try:
        return _read(source).decode()
    except urllib.error.HTTPError as error:
        with error:
            raise Unreadable(f"{source}: {error.code} {_of_error(error)}") from None
    except urllib.error.URLError as error:
        raise Unreadable(f"{source}: {error.reason}") from error
    except (OSError, ValueError) as error:
        raise Unreadable(f"{source}: {error.strerror if isinstance(error, OSError) else error}") from error
    except http.client.HTTPException as error:
        # Not all of them say anything but their names.
        raise Unreadable(f"{source}: {type(error).__name__} {error}") from error


def read_json(source: str) -> Any:
    """The JSON value at such a place.

    Raises:
        Unreadable: it can't be had, or is no JSON.
    """
    return parse_json(source, read_text(source))


def parse_json(source: str, text: str) -> Any:
    """The JSON value of a text from such a place.

    Raises:
        Unreadable: it is none.
    """
    try:
        return canonical.parse(text)
    except ValueError as error:
        raise Unreadable(f"{source}: {error}") from error


def _read(source: str) -> bytes:
    if source == "-":
        return sys.stdin.buffer.read()
    if not source.startswith(("http://", "https://")):
        return Path(source).read_bytes()
    with urllib.request.urlopen(source, timeout=_SECONDS) as answer:  # noqa: S310  (of these two schemes)
        body: bytes = answer.read(_MOST_BYTES + 1)
    if len(body) > _MOST_BYTES:
        raise ValueError("too long")
    return body


def _of_error(error: urllib.error.HTTPError) -> str:
    """What the coordinator says in its error's body, else what HTTP says."""
    try:
        return str(canonical.parse(error.read(_MOST_BYTES))["error"]["message"])
    except (OSError, ValueError, TypeError, KeyError):
        return str(error.reason)
