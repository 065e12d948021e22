"""What is measured of each system; a system leaves out what it can't do."""

from typing import NamedTuple

from tests.bench.filling import PROMPT

BATCH = 10

ONE, TEN, CYCLES, WORKER = "one", "ten", "cycles", "worker"
PHASES = {
    ONE: "claims, one a transaction",
    TEN: f"claims, {BATCH} a transaction",
    CYCLES: "cycles: enqueue, claim, finish, a transaction each",
    WORKER: "claimed and finished by a worker",
}
PARAMETERS = {"prompt": PROMPT, "max_tokens": 256}


class Share(NamedTuple):
    """How many jobs one connection has done, and when."""

    jobs: int
    began: float
    ended: float
