"""How much a bench does."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Size:
    """What can be chosen on the command line; None where a bench has no such thing."""

    jobs: int | None = None
    rounds: int | None = None
    seconds: float | None = None
    clients: int | None = None
    miners: int | None = None
