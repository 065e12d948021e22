"""Whether writers of one SQLite database take turns, with the lock files and without."""

import time
from contextlib import nullcontext
from typing import Any, NamedTuple

from sqlalchemy.exc import OperationalError

from tests.bench.databases import SQLITE, Databases
from tests.bench.emulator import variables
from tests.bench.processes import Meet, together
from tests.bench.report import say, show
from tests.bench.size import Size

FULL = Size(seconds=10.0, clients=8)
TINY = Size(seconds=1.0, clients=2)


class _Writer(NamedTuple):
    operations: int
    longest_seconds: float
    given_up: int


def run(size: Size, databases: Databases) -> tuple[dict[str, Any], list[str]]:
    """The figures, and what went wrong."""
    if SQLITE not in databases.kinds:
        say("fairness is about SQLite: nothing to do")
        return {}, []
    figures = {}
    for name, locked in (("with the lock files", True), ("busy timeout alone", False)):
        say(f"fairness, {name}: {size.clients} writers, {size.seconds:g} s")
        with databases.fresh(SQLITE) as url:
            parts = [(_write, (number, size.seconds, locked)) for number in range(size.clients)]
            figures[name] = _figures(together(*parts, variables=variables(url)), size.seconds)
    show(
        f"fairness: {size.clients} processes, small writes for {size.seconds:g} s",
        ("", "writes/s", "of the slowest", "of the fastest", "fastest : slowest", "longest wait", "given up"),
        [
            (
                name,
                f"{each['writes_per_second']:.0f}",
                min(each["operations"]),
                max(each["operations"]),
                f"{each['ratio']:.2f}",
                f"{each['longest_seconds'] * 1000:.0f} ms",
                each["given_up"],
            )
            for name, each in figures.items()
        ],
        note="With the lock files the ratio is to be below 2, the longest wait below 1000 ms.",
    )
    given_up = figures["with the lock files"]["given_up"]
    return figures, [f"{given_up} writes were given up"] if given_up else []


def _write(meet: Meet, number: int, seconds: float, locked: bool) -> _Writer:
    """Writes one row again and again, as a heartbeat does."""
    from coordinator.core.database import database
    from coordinator.core.ids import new_id
    from coordinator.jobs import leases
    from coordinator.miners.schemas import Heartbeat, MinerRegister

    there = database()
    if not locked:
        there._writer.held = nullcontext  # type: ignore[union-attr, method-assign, assignment]
    owner = new_id()
    miner = MinerRegister(address=f"writer-{number}", capabilities=["llm_inference"])
    there.write(lambda tx: leases.register(tx, owner, miner))
    operations, longest, given_up = 0, 0.0, 0
    meet()
    until = time.monotonic() + seconds
    while (began := time.monotonic()) < until:
        try:
            there.write(lambda tx: leases.heartbeat(tx, owner, None, Heartbeat()))
            operations += 1
        except OperationalError:
            given_up += 1
        longest = max(longest, time.monotonic() - began)
    return _Writer(operations, longest, given_up)


def _figures(writers: list[_Writer], seconds: float) -> dict[str, Any]:
    operations = [writer.operations for writer in writers]
    return {
        "operations": operations,
        "writes_per_second": sum(operations) / seconds,
        "ratio": max(operations) / max(1, min(operations)),
        "longest_seconds": max(writer.longest_seconds for writer in writers),
        "given_up": sum(writer.given_up for writer in writers),
    }
