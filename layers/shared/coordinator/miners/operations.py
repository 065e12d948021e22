"""What operators see of miners, and the switch that takes one out of service."""

import json
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import Connection, Row, bindparam, func, select, update

from coordinator.core.ids import is_id
from coordinator.core.pages import fetch_page
from coordinator.core.schemas import Id, Page, PageQuery
from coordinator.miners.errors import NoSuchMiner
from coordinator.miners.liveness import ACTIVE, INACTIVE
from coordinator.miners.models import miners
from coordinator.miners.schemas import MinerRead, MinerStatus
from coordinator.miners.service import read

_THIS = select(miners).where(miners.c.id == bindparam("miner_id"))
_LOCKED = _THIS.with_for_update()


class MinerOperatorRead(MinerRead):
    """A miner as operators see it."""

    owner_id: Id = Field(description="Which miner key registered it, by the id that stands for it.")
    disabled: bool = Field(description="An operator has disabled it: all its calls are refused.")
    report: dict[str, Any] = Field(description="What its last heartbeat said.")


class MinerCounts(BaseModel):
    """How many miners there are."""

    active: int = Field(description="Those that get jobs.")
    inactive: int = Field(description="Those that have left, are silent or are disabled.")


def lock(tx: Connection, miner_id: str) -> Row[Any]:
    """The miner, held until the transaction ends, so that its own calls wait.

    Raises:
        NoSuchMiner: there is none with this id.
    """
    miner = tx.execute(_LOCKED, {"miner_id": miner_id}).first() if is_id(miner_id) else None
    if miner is None:
        raise NoSuchMiner
    return miner


def get(tx: Connection, miner_id: str) -> MinerOperatorRead:
    return _read(tx.execute(_THIS, {"miner_id": miner_id}).one())


def page(tx: Connection, query: PageQuery, status: MinerStatus | None) -> Page[MinerOperatorRead]:
    """All miners, newest first."""
    wanted = select(miners)
    if status is not None:
        wanted = wanted.where(miners.c.status == status)
    rows, next_cursor = fetch_page(tx, wanted, miners.c.id, query)
    return Page(items=[_read(row) for row in rows], next_cursor=next_cursor)


def disable(tx: Connection, miner_id: str) -> None:
    """Refuses all calls of a miner from now on; it keeps its registration."""
    tx.execute(update(miners).where(miners.c.id == miner_id).values(disabled=True, status=INACTIVE))


def enable(tx: Connection, miner_id: str) -> None:
    """Lets a miner call again; its first poll or heartbeat makes it active."""
    tx.execute(update(miners).where(miners.c.id == miner_id).values(disabled=False))


def count(tx: Connection) -> MinerCounts:
    counted = tx.execute(select(miners.c.status, func.count().label("miners")).group_by(miners.c.status))
    by_status = {row.status: row.miners for row in counted}
    return MinerCounts(active=by_status.get(ACTIVE, 0), inactive=by_status.get(INACTIVE, 0))


def _read(miner: Row[Any]) -> MinerOperatorRead:
    seen_by_itself = read(miner).model_dump()
    report = json.loads(miner.report)
    return MinerOperatorRead(**seen_by_itself, owner_id=miner.owner_id, disabled=miner.disabled, report=report)
