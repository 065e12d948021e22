"""Miners: registration, heartbeats, and who may act as which miner."""

import json
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Select, bindparam, select, true, update

from coordinator.core import clock
from coordinator.core.canonical import canonical_json, sha256_hex
from coordinator.core.config import settings
from coordinator.core.database import insert_new
from coordinator.core.errors import InvalidInput
from coordinator.core.ids import is_id, new_id
from coordinator.core.money import format_aitbc
from coordinator.core.prepared import Prepared
from coordinator.miners.errors import MinerDisabled, MinerIdRequired, MinerNotFound
from coordinator.miners.liveness import ACTIVE, INACTIVE
from coordinator.miners.models import miners
from coordinator.miners.profiles import models_by_type
from coordinator.miners.schemas import Heartbeat, MinerRead, MinerRegister

_MAX_REPORT_CHARACTERS = 16_384


class Lookup:
    """How a caller's miner is read: these columns with `now_us` beside them, locked or not.

    Locked, this miner's calls take turns until the transaction ends. What is read beside the miner may be older than
    the lock: the database reads first and then waits.
    """

    def __init__(self, *columns: Any, lock: bool) -> None:
        present = clock.PRESENT
        mine: Select[Any] = select(*_IDENTITY, *columns, present.c.now_us).join_from(miners, present, true())
        if lock:
            mine = mine.with_for_update(of=miners)
        self.named = Prepared(mine.where(miners.c.id == bindparam("miner_id")))
        # Two are enough to see that a miner must be named; a registered one goes before those that were retired.
        owned = mine.where(miners.c.owner_id == bindparam("owner_id"))
        self.owned = Prepared(owned.order_by(miners.c.registered.desc()).limit(2))


_IDENTITY = (miners.c.id, miners.c.owner_id, miners.c.registered, miners.c.disabled)
READ = Lookup(*(column for column in miners.c if column not in _IDENTITY), lock=False)
_LOCK = Lookup(lock=True)
_DISABLED_THERE = select(miners.c.id).where(
    miners.c.owner_id == bindparam("owner_id"), miners.c.address == bindparam("address"), miners.c.disabled
)


class Registration(NamedTuple):
    miner: MinerRead
    created: bool


def register(tx: Connection, owner_id: str, body: MinerRegister) -> Registration:
    """Adds a miner, or updates the one that the same key registered at the same address and endpoint.

    Raises:
        MinerDisabled: the operator has disabled it, or another one at this address, whose place it would take.
    """
    now = clock.now_us(tx)
    values = _registered_values(body, now)
    key = {"owner_id": owner_id, "address": body.address, "endpoint": body.endpoint or ""}
    this = select(miners).filter_by(**key).with_for_update()
    known = tx.execute(this).first()
    if known is None:
        if tx.execute(_DISABLED_THERE, {"owner_id": owner_id, "address": body.address}).first():
            raise MinerDisabled
        first = {"id": new_id(), "created_us": now, "last_assigned_us": now, "report": "{}", **key, **values}
        # Of two first registrations at once the second waits here, then updates what the first has added.
        insert_new(tx, miners, first)
        known = tx.execute(this).one()
        if known.id == first["id"]:
            return Registration(read(known), created=True)
    if known.disabled:
        raise MinerDisabled
    tx.execute(update(miners).where(miners.c.id == known.id).values(values))
    return Registration(read(tx.execute(this).one()), created=False)


def acting(
    tx: Connection,
    owner_id: str,
    miner_id: str | None,
    *,
    registered: bool = True,
    lookup: Lookup = _LOCK,
    **parameters: Any,
) -> Row[Any]:
    """The miner that a call speaks for.

    Args:
        tx: the transaction of the call.
        owner_id: whose key called.
        miner_id: the header X-Miner-Id, if there was one.
        registered: whether a deregistered miner is refused.
        lookup: what is read, and whether it is locked.
        parameters: what the columns of the lookup need.

    Raises:
        MinerNotFound: the key has no such miner, or it is deregistered.
        MinerIdRequired: no miner was named and the key has several.
        MinerDisabled: the operator has disabled it.
    """
    candidates: list[Row[Any]]
    if miner_id is None:
        candidates = lookup.owned.rows(tx, {"owner_id": owner_id, **parameters})
    elif is_id(miner_id):
        # By its id alone: given the owner too, a planner may read all of an owner's miners.
        named = lookup.named.rows(tx, {"miner_id": miner_id, **parameters})
        candidates = [miner for miner in named if miner.owner_id == owner_id]
    else:
        raise MinerNotFound
    if len(candidates) > 1 and candidates[1].registered == candidates[0].registered:
        raise MinerIdRequired
    if not candidates or (registered and not candidates[0].registered):
        raise MinerNotFound
    if candidates[0].disabled:
        raise MinerDisabled
    return candidates[0]


def lock_later(tx: Connection, miner_id: str) -> None:
    """Has this miner's calls take turns until the transaction ends, from the next statement on."""
    _LOCK.named.later(tx, {"miner_id": miner_id})


def get(tx: Connection, owner_id: str, miner_id: str | None) -> MinerRead:
    return read(acting(tx, owner_id, miner_id, registered=False, lookup=READ))


def note_heartbeat(tx: Connection, miner_id: str, body: Heartbeat, now_us: int) -> None:
    report = json.dumps(body.model_dump(exclude_none=True))
    if len(report) > _MAX_REPORT_CHARACTERS:
        raise InvalidInput.at("body", "metrics", message=f"over {_MAX_REPORT_CHARACTERS} characters", kind="too_long")
    seen = {"status": ACTIVE, "last_heartbeat_us": now_us, "report": report}
    tx.execute(update(miners).where(miners.c.id == miner_id).values(seen))


def retire(tx: Connection, miner_id: str) -> MinerRead:
    """Takes a miner out of service until it registers again."""
    tx.execute(update(miners).where(miners.c.id == miner_id).values(status=INACTIVE, registered=False))
    return read(tx.execute(select(miners).where(miners.c.id == miner_id)).one())


def read(miner: Any) -> MinerRead:
    return MinerRead(
        id=miner.id,
        address=miner.address,
        endpoint=miner.endpoint or None,
        capabilities=json.loads(miner.capabilities),
        hardware=json.loads(miner.hardware),
        region=miner.region,
        price=format_aitbc(miner.price_atoms),
        concurrency=miner.concurrency,
        name=miner.name,
        status=miner.status,
        last_heartbeat=clock.rfc3339(miner.last_heartbeat_us),
        created_at=clock.rfc3339(miner.created_us),
        heartbeat_interval_seconds=settings().heartbeat_interval_seconds,
        heartbeat_timeout_seconds=settings().heartbeat_timeout_seconds,
        lease_seconds=settings().lease_seconds,
    )


def _registered_values(body: MinerRegister, now_us: int) -> dict[str, Any]:
    capabilities = [item if isinstance(item, str) else item.model_dump() for item in body.capabilities]
    hardware = body.hardware.model_dump()
    profile = canonical_json([models_by_type(capabilities), hardware, body.region])
    return {
        "capabilities": json.dumps(capabilities),
        "hardware": json.dumps(hardware),
        "region": body.region,
        "profile_sha256": sha256_hex(profile),
        "price_atoms": body.price,
        "concurrency": body.concurrency,
        "public_key": body.public_key,
        "name": body.name,
        "status": ACTIVE,
        "registered": True,
        "last_heartbeat_us": now_us,
    }
