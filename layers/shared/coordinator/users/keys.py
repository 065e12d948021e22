"""API keys: who a key stands for and what it may do."""

import hashlib
import hmac
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from sqlalchemy import Connection, select

from coordinator.core import clock
from coordinator.core.columns import table_of
from coordinator.core.config import settings
from coordinator.core.database import database, insert_new
from coordinator.core.errors import Forbidden, Unauthorized
from coordinator.core.ids import new_id
from coordinator.users.models import ApiKey

_keys = table_of(ApiKey)


class Role(StrEnum):
    CLIENT = "client"
    MINER = "miner"
    ADMIN = "admin"


@dataclass(frozen=True)
class Principal:
    """Whoever a key stands for; jobs and miners belong to `id`."""

    id: str


def authenticate(key: str | None, role: Role) -> Principal:
    """Tells who calls.

    Raises:
        Unauthorized: there is no key, or nobody knows it.
        Forbidden: the key is known but lacks the role.
    """
    if not key:
        raise Unauthorized("Send an API key in the header X-Api-Key.")
    digest = _digest(key)
    roles = _configured_roles().get(digest)
    if roles is None:
        raise Unauthorized("This API key is not known.")
    if role not in roles:
        raise Forbidden(f"This API key has no {role} role.")
    return _principal(digest)


def _digest(key: str) -> str:
    secret = settings().secret_key.encode()
    return hmac.new(secret, b"api-key:" + key.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()


@cache
def _configured_roles() -> dict[str, frozenset[Role]]:
    """Looked up by digest, so that no comparison takes longer the more of a key was guessed."""
    by_role = {
        Role.CLIENT: settings().client_api_keys,
        Role.MINER: settings().miner_api_keys,
        Role.ADMIN: settings().admin_api_keys,
    }
    every_key = frozenset().union(*by_role.values())
    return {_digest(key): frozenset(role for role, keys in by_role.items() if key in keys) for key in every_key}


@cache
def _principal(digest: str) -> Principal:
    found = database().read(lambda tx: _find(tx, digest))
    return Principal(found or database().write(lambda tx: _add(tx, digest)))


def _find(tx: Connection, digest: str) -> str | None:
    return tx.scalar(select(_keys.c.id).where(_keys.c.digest == digest))


def _add(tx: Connection, digest: str) -> str:
    """Keeps the id of the first of several processes that meet the key at the same time."""
    insert_new(tx, _keys, {"id": new_id(), "digest": digest, "created_us": clock.now_us(tx)})
    return str(_find(tx, digest))
