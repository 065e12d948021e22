"""Job classes: jobs with the same requirements form one class, matched against a miner once and not job by job."""

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, func, literal, select

from coordinator.core.canonical import canonical_json, sha256_hex
from coordinator.core.database import insert_new, take_turn
from coordinator.jobs.models import job_classes
from coordinator.miners.profiles import count_by_profile, find_profile

_MB_PER_GB = 1024

# The bytes of "class".
_TURN = 0x636C617373
_THIS_CLASS = select(job_classes.c.number).where(job_classes.c.id == bindparam("class_id"))
_NEXT_NUMBER = select(func.coalesce(func.max(job_classes.c.number), 0) + literal(1))
_BETWEEN = select(job_classes).where(
    job_classes.c.number > bindparam("known"), job_classes.c.number <= bindparam("newest")
)
# The newest class's number, for the statements of others.
NEWEST_CLASS = select(func.coalesce(func.max(job_classes.c.number), 0)).scalar_subquery()

_committed: dict[str, int] = {}
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


def ensure_class(tx: Connection, requirements: dict[str, Any]) -> int:
    """Gives the number of the class of these requirements, added if it is the first job of its kind."""
    requirements_json = canonical_json(requirements)
    class_id = sha256_hex(requirements_json)
    known = _committed.get(class_id)
    if known is not None:
        return known
    found = tx.scalar(_THIS_CLASS, {"class_id": class_id})
    if found is None:
        return _add_class(tx, class_id, requirements_json)
    if len(_committed) < _MAX_COMMITTED:
        # Found by a transaction that did not add it, so it is there to stay.
        _committed[class_id] = found
    return int(found)


def _add_class(tx: Connection, class_id: str, requirements_json: str) -> int:
    """New classes take turns until they are committed: none is seen before one with a lower number."""
    take_turn(tx, _TURN)
    number = int(tx.execute(_NEXT_NUMBER).scalar_one())
    insert_new(tx, job_classes, {"id": class_id, "number": number, "requirements": requirements_json})
    return int(tx.execute(_THIS_CLASS, {"class_id": class_id}).scalar_one())


def can_serve(profile: dict[str, Any], requirements: dict[str, Any]) -> bool:
    """Tells whether a miner meets every requirement.

    Models must all be offered for the job type; one and the same GPU must bear the name and the memory; a CUDA
    version matches by its leading parts ("12" is met by "12.4").
    """
    models = profile["capabilities"].get(requirements["job_type"])
    if models is None or not set(requirements.get("models", ())) <= set(models):
        return False
    if "region" in requirements and requirements["region"] != profile["region"].strip().lower():
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
class Known:
    """What this process has worked out for one miner profile."""

    # The newest class that was looked at.
    number: int = 0
    eligible: frozenset[int] = frozenset()


_known: dict[str, Known] = {}
_profiles: dict[str, dict[str, Any]] = {}
_MAX_PROFILES = 1000


def eligible_classes(tx: Connection, profile_sha256: str, newest_class: int) -> frozenset[int]:
    """The numbers of all classes that an active miner of this profile can serve.

    Only classes that came since the last call are matched, and `newest_class`, the number of the newest, tells
    whether there are any; what is kept in memory can be worked out again at any time.
    """
    known = _known.get(profile_sha256)
    if known is None:
        if len(_known) >= _MAX_PROFILES:
            _known.clear()
        known = _known[profile_sha256] = Known()
    if newest_class > known.number:
        profile = _profile(tx, profile_sha256)
        if profile is None:
            return frozenset()
        newer = tx.execute(_BETWEEN, {"known": known.number, "newest": newest_class})
        known.eligible |= {row.number for row in newer if can_serve(profile, json.loads(row.requirements))}
        known.number = newest_class
    return known.eligible


def known_classes(profile_sha256: str) -> Known | None:
    """What is known without asking the database; classes may have come since."""
    return _known.get(profile_sha256)


def eligible_miners(tx: Connection, class_number: int, max_price_atoms: int) -> int:
    """How many active miners can serve jobs of this class for this price, whether they are free or busy."""
    this = select(job_classes.c.requirements).where(job_classes.c.number == class_number)
    requirements = json.loads(tx.execute(this).scalar_one())
    alike = count_by_profile(tx, max_price_atoms)
    return sum(row.miners for row in alike if _profile_can_serve(tx, row.profile_sha256, requirements))


def _profile_can_serve(tx: Connection, profile_sha256: str, requirements: dict[str, Any]) -> bool:
    profile = _profile(tx, profile_sha256)
    return profile is not None and can_serve(profile, requirements)


def _profile(tx: Connection, profile_sha256: str) -> dict[str, Any] | None:
    profile = _profiles.get(profile_sha256) or find_profile(tx, profile_sha256)
    if profile is not None:
        if len(_profiles) >= _MAX_PROFILES:
            _profiles.clear()
        _profiles[profile_sha256] = profile
    return profile
