"""Profiles: what the matching of jobs depends on; miners that have the same are alike."""

import json
from typing import Any

from sqlalchemy import Connection, Row, func, select, text

from coordinator.core import clock
from coordinator.core.config import settings
from coordinator.miners.models import IS_ACTIVE, miners


def count_by_profile(tx: Connection, most_atoms: int) -> list[Row[Any]]:
    """How many active miners of each profile ask for no more than this: rows of `profile_sha256` and `miners`."""
    silent_since = clock.now_us(tx) - settings().heartbeat_timeout_seconds * clock.SECOND_US
    affordable = (
        select(miners.c.profile_sha256, func.count().label("miners"))
        .where(text(IS_ACTIVE), miners.c.price_atoms <= most_atoms, miners.c.last_heartbeat_us > silent_since)
        .group_by(miners.c.profile_sha256)
    )
    return list(tx.execute(affordable))


def find_profile(tx: Connection, profile_sha256: str) -> dict[str, Any] | None:
    """The profile behind a hash, None if the last active miner that had it is just gone."""
    has_it = select(miners).where(text(IS_ACTIVE), miners.c.profile_sha256 == profile_sha256).limit(1)
    miner = tx.execute(has_it).first()
    return None if miner is None else _profile_of(miner)


def _profile_of(miner: Row[Any]) -> dict[str, Any]:
    """What the matching of jobs depends on."""
    hardware = json.loads(miner.hardware)
    return {
        "capabilities": models_by_type(json.loads(miner.capabilities)),
        "gpus": hardware["gpus"],
        "cuda": hardware["cuda"] or "",
        "region": miner.region or "",
    }


def models_by_type(capabilities: list[Any]) -> dict[str, list[str]]:
    """Joins what was listed twice: ["x", {"job_type": "x", "models": ["m"]}] is one capability."""
    joined: dict[str, set[str]] = {}
    for capability in capabilities:
        job_type, models = (
            (capability, []) if isinstance(capability, str) else (capability["job_type"], capability["models"])
        )
        joined.setdefault(job_type, set()).update(models)
    return {job_type: sorted(models) for job_type, models in joined.items()}
