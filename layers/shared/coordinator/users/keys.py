"""API keys: who a key stands for and what it may do."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from sqlalchemy import Connection, select

from coordinator.core import clock
from coordinator.core.config import ConfiguredKey, from_secrets, settings
from coordinator.core.database import database, insert_new
from coordinator.core.errors import Forbidden, Unauthorized
from coordinator.core.ids import new_id
from coordinator.users import key_lookup
from coordinator.users.digests import digest
from coordinator.users.models import api_keys


class Role(StrEnum):
    CLIENT = "client"
    MINER = "miner"
    ADMIN = "admin"


@dataclass(frozen=True)
class Principal:
    """Whoever a key or session stands for; jobs and miners belong to `id`."""

    id: str
    # The user whose key or session it is; None for keys that the operator has configured.
    user_id: str | None = None


@dataclass(frozen=True)
class _Owner:
    """Whom a configured key belongs to: the digest that leads to the id, and those that did before."""

    digest: str
    former: tuple[str, ...]


def authenticate(key: str | None, role: Role) -> Principal:
    """Tells who calls.

    Raises:
        Unauthorized: there is no key, or nobody knows it.
        Forbidden: the key is known but lacks the role.
    """
    if not key:
        raise Unauthorized("Send an API key in the header X-Api-Key.")
    owner_and_roles = _configured_keys().get(_digest_of_key(settings().secret_key, key))
    if owner_and_roles is None:
        return _user_of(key, role)
    owner, roles = owner_and_roles
    _require(role, roles)
    return _principal(owner)


def _user_of(key: str, role: Role) -> Principal:
    """Whoever has made this key. It is looked up anew for each request, so that a revoked one is good for none."""
    used = key_lookup.use(key)
    if used is None:
        raise Unauthorized("This API key is not known.")
    _require(role, {used.role})
    return Principal(used.user_id, used.user_id)


def _require(role: Role, roles: Collection[str]) -> None:
    if role not in roles:
        raise Forbidden(f"This API key has no {role} role.")


def _digest_of_key(secret: str, key: str) -> str:
    return digest(secret, "api-key:" + key)


def _digest_of_name(secret: str, name: str) -> str:
    return digest(secret, "api-key-name:" + name)


@from_secrets
def _configured_keys() -> dict[str, tuple[_Owner, frozenset[Role]]]:
    """Looked up by digest, so that no comparison takes longer the more of a key was guessed."""
    configured = settings().api_keys
    by_role = {Role.CLIENT: configured.client, Role.MINER: configured.miner, Role.ADMIN: configured.admin}
    # In the order of the variables; a set would forget it.
    every_key = tuple(dict.fromkeys(key for keys in by_role.values() for key in keys))
    return {
        _digest_of_key(settings().secret_key, key.key): (
            _owner(key, every_key),
            frozenset(role for role, keys in by_role.items() if key in keys),
        )
        for key in every_key
    }


def _owner(key: ConfiguredKey, every_key: tuple[ConfiguredKey, ...]) -> _Owner:
    secrets = settings().secret_keys
    if key.name is None:
        digests = [_digest_of_key(secret, key.key) for secret in secrets]
    else:
        # A name takes over what its keys own, if one of them was used before it had the name.
        namesakes = [other.key for other in every_key if other.name == key.name]
        digests = [_digest_of_name(secret, key.name) for secret in secrets]
        digests += [_digest_of_key(secret, other) for other in namesakes for secret in secrets]
    return _Owner(digests[0], tuple(digests[1:]))


@cache
def _principal(owner: _Owner) -> Principal:
    found = database().read(lambda tx: _find(tx, owner.digest))
    return Principal(found or database().write(lambda tx: _add(tx, owner)))


def _find(tx: Connection, digest: str) -> str | None:
    return tx.scalar(select(api_keys.c.id).where(api_keys.c.digest == digest))


def _add(tx: Connection, owner: _Owner) -> str:
    """Keeps the id of the first of several processes that meet the owner at the same time.

    Former digests go on leading to the same id, for processes that still have the former secret.
    """
    known = next(filter(None, (_find(tx, digest) for digest in owner.former)), None)
    insert_new(tx, api_keys, {"id": known or new_id(), "digest": owner.digest, "created_us": clock.now_us(tx)})
    return str(_find(tx, owner.digest))
