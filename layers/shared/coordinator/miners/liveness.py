"""Which miners are there: by their calls, until they are silent for too long."""

from sqlalchemy import Connection, select, text, update

from coordinator.core import clock
from coordinator.core.config import settings
from coordinator.miners.models import IS_ACTIVE, miners

ACTIVE = "active"
INACTIVE = "inactive"


def revive(tx: Connection, miner_id: str, now_us: int) -> None:
    """Takes any call of a miner that was given up as the sign of life it is."""
    tx.execute(update(miners).where(miners.c.id == miner_id).values(status=ACTIVE, last_heartbeat_us=now_us))


def give_up_silent(tx: Connection, now_us: int, limit: int) -> list[str]:
    """Marks miners inactive that sent no heartbeat in time; gives their ids."""
    silent_since = now_us - settings().heartbeat_timeout_seconds * clock.SECOND_US
    silent = (
        select(miners.c.id)
        .where(text(IS_ACTIVE), miners.c.last_heartbeat_us <= silent_since)
        .order_by(miners.c.last_heartbeat_us)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    ids = list(tx.scalars(silent))
    if ids:
        tx.execute(update(miners).where(miners.c.id.in_(ids)).values(status=INACTIVE))
    return ids
