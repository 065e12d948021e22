"""Job classes: jobs with the same requirements form one class, matched against a miner once and not job by job."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, select

from coordinator.core import clock
from coordinator.core.canonical import canonical_json, sha256_hex
from coordinator.core.columns import table_of
from coordinator.core.database import insert_new
from coordinator.jobs.models import JobClass

classes = table_of(JobClass)

# A class becomes visible when its transaction commits, which may be this much after its `created_us`.
_COMMIT_DELAY_US = 60 * clock.SECOND_US
_MB_PER_GB = 1024

_THIS_CLASS = select(classes.c.id).where(classes.c.id == bindparam("class_id"))
_committed: set[str] = set()
_MAX_COMMITTED = 10_000


def requirements_of(job_type: str, constraints: dict[str, Any]) -> dict[str, Any]:
    """Folds what a job asks for into one form: case, order and repetition make no difference."""
    requirements: dict[str, Any] = {"job_type": job_type}
    if constraints.get("models"):
        requirements["models"] = sorted(set(constraints["models"]))
    if constraints.get("min_vram_gb"):
        requirements["min_vram_mb"] = constraints["min_vram_gb"] * _MB_PER_GB
    for name in ("gpu", "cuda", "region"):
        if constraints.get(name):
            requirements[name] = constraints[name].strip().lower()
    return requirements


def ensure_class(tx: Connection, requirements: dict[str, Any], now_us: int) -> str:
    """Gives the id of the class of these requirements, added if it is the first job of its kind."""
    text = canonical_json(requirements)
    class_id = sha256_hex(text)
    if class_id in _committed:
        return class_id
    if tx.execute(_THIS_CLASS, {"class_id": class_id}).first() is None:
        insert_new(tx, classes, {"id": class_id, "requirements": text, "created_us": now_us})
    elif len(_committed) < _MAX_COMMITTED:
        # Found by a transaction that did not add it, so it is there to stay.
        _committed.add(class_id)
    return class_id


def can_serve(profile: dict[str, Any], requirements: dict[str, Any]) -> bool:
    """Tells whether a miner meets every requirement.

    Models must all be offered for the job type; one and the same GPU must bear the name and the memory; a CUDA
    version matches by its leading parts ("12" is met by "12.4").
    """
    models = profile["capabilities"].get(requirements["job_type"])
    if models is None or not set(requirements.get("models", ())) <= set(models):
        return False
    if "region" in requirements and requirements["region"] != profile["region"].lower():
        return False
    if "cuda" in requirements and not _version_matches(profile["cuda"], requirements["cuda"]):
        return False
    if "gpu" in requirements or "min_vram_mb" in requirements:
        return any(
            requirements.get("gpu", "") in gpu["name"].lower()
            and gpu["memory_mb"] >= requirements.get("min_vram_mb", 0)
            for gpu in profile["gpus"]
        )
    return True


def _version_matches(offered: str, wanted: str) -> bool:
    parts = wanted.split(".")
    return offered.lower().split(".")[: len(parts)] == parts


@dataclass
class _Known:
    """What this process has worked out for one miner profile."""

    seen: set[str] = field(default_factory=set)
    eligible: list[str] = field(default_factory=list)
    newest_us: int = 0


_known: dict[str, _Known] = {}
_MAX_PROFILES = 1000


def eligible_classes(
    tx: Connection, profile_sha256: str, profile: Callable[[], dict[str, Any]], newest_us: int, now_us: int
) -> list[str]:
    """The ids of all classes that a miner of this profile can serve.

    Only classes that came since the last call are matched, and `newest_us`, the time of the newest class, tells
    whether there are any; what is kept in memory can be worked out again at any time.
    """
    known = _known.get(profile_sha256)
    if known is None:
        if len(_known) >= _MAX_PROFILES:
            _known.clear()
        known = _known[profile_sha256] = _Known()
    if newest_us == known.newest_us and newest_us < now_us - _COMMIT_DELAY_US:
        return known.eligible
    since = known.newest_us - _COMMIT_DELAY_US
    for row in tx.execute(select(classes).where(classes.c.created_us >= since)):
        if row.id not in known.seen:
            known.seen.add(row.id)
            known.newest_us = max(known.newest_us, row.created_us)
            if can_serve(profile(), json.loads(row.requirements)):
                known.eligible.append(row.id)
    return known.eligible
