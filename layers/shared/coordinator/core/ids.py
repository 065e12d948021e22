"""Ids: UUIDv7 strings, so that they sort by time of creation (RFC 9562, section 5.7)."""

import re

import uuid_utils

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def new_id() -> str:
    return str(uuid_utils.uuid7())


def is_id(value: str) -> bool:
    """Tells whether a caller's text can be an id at all, before any database sees it."""
    return _ID.fullmatch(value) is not None
