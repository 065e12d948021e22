"""Our queue beside Procrastinate's and PgQueuer's, on the same PostgreSQL server in the same run."""

import importlib
import statistics
from typing import Any

from tests.bench.databases import POSTGRES, Databases
from tests.bench.emulator import variables
from tests.bench.processes import Meet, alone, together
from tests.bench.report import say, show
from tests.bench.rivals.phases import BATCH, PHASES, Share
from tests.bench.size import Size

FULL = Size(jobs=20_000, rounds=3, seconds=3.0, clients=8)
TINY = Size(jobs=1_000, rounds=1, seconds=0.5, clients=2)

_OURS = "ours"
_SYSTEMS = (_OURS, "procrastinate", "pgqueuer")


def run(size: Size, databases: Databases) -> tuple[dict[str, Any], list[str]]:
    """The figures, and what went wrong."""
    if POSTGRES not in databases.kinds:
        say("rivals needs a PostgreSQL server: nothing to do")
        return {}, []
    systems = [name for name in _SYSTEMS if _is_installed(name)]
    per_second: dict[str, dict[str, list[float]]] = {phase: {name: [] for name in systems} for phase in PHASES}
    with databases.fresh(POSTGRES) as ours, databases.fresh(POSTGRES) as first, databases.fresh(POSTGRES) as second:
        urls = dict(zip(_SYSTEMS, (ours, first, second), strict=True))
        for name in systems:
            alone(_install, name, urls[name], variables=_variables(urls[name]))
        for number in range(size.rounds):
            for name in systems:
                say(f"rivals, round {number + 1} of {size.rounds}: {name}")
                for phase, rate in _round(name, urls[name], size).items():
                    per_second[phase][name].append(rate)
    medians = {
        phase: {name: statistics.median(rates) for name, rates in each.items() if rates}
        for phase, each in per_second.items()
    }
    _show(size, systems, medians)
    versions = {name: importlib.metadata.version(name) for name in systems if name != _OURS}
    return {"per_second": medians, "rounds": per_second, "versions": versions}, []


def _is_installed(name: str) -> bool:
    if name == _OURS or importlib.util.find_spec(name):
        return True
    say(f'rivals: {name} is left out, as it is not installed (make bench ARGS="rivals" installs it)')
    return False


def _round(name: str, url: str, size: Size) -> dict[str, float]:
    parts = [(_take_part, (name, url, number, size.jobs, size.seconds)) for number in range(size.clients)]
    everyone = together(*parts, variables=_variables(url))
    return {phase: _rate([shares[phase] for shares in everyone]) for phase in everyone[0]}


def _variables(url: str) -> dict[str, str]:
    # Nobody is to be given up for what was not asked of it here.
    return {**variables(url), "HEARTBEAT_TIMEOUT_SECONDS": "86400", "LEASE_SECONDS": "86400"}


def _install(name: str, url: str) -> None:
    importlib.import_module(f"tests.bench.rivals.with_{name}").install(url)


def _take_part(meet: Meet, name: str, url: str, number: int, jobs: int, seconds: float) -> dict[str, Share]:
    """One connection's share of all phases; the first one fills the queue before each."""
    system = importlib.import_module(f"tests.bench.rivals.with_{name}")
    shares = {}
    for phase in system.PHASES:
        if number == 0:
            system.fill(url, jobs)
        meet()
        shares[phase] = system.PHASES[phase](url, number, seconds, meet)
        # Nobody empties the queue while others are still at it.
        meet()
    return shares


def _rate(shares: list[Share]) -> float:
    return sum(share.jobs for share in shares) / (max(s.ended for s in shares) - min(s.began for s in shares))


def _show(size: Size, systems: list[str], medians: dict[str, dict[str, float]]) -> None:
    rows = []
    for phase, rates in medians.items():
        figures = [f"{rates[name]:.0f}" if name in rates else "-" for name in systems]
        ratios = [f"{rates[_OURS] / rates[name]:.2f}" if name in rates else "-" for name in systems if name != _OURS]
        rows.append((PHASES[phase], *figures, *ratios))
    show(
        f"rivals: jobs a second, {size.clients} connections, {size.jobs:,} jobs queued, median of {size.rounds} rounds",
        ("what", *systems, *(f"{_OURS} : {name}" for name in systems if name != _OURS)),
        rows,
        note=(
            "Each connection is a process of its own, every commit is durable, all queues hold the same parameters. "
            "Procrastinate: fetch_job, defer_async, finish_job over its psycopg pool; PgQueuer: dequeue, enqueue, "
            "log_jobs over asyncpg; both under uvloop and with prepared statements. Ours: jobs.queue.claim, "
            "jobs.service.submit, jobs.results.answer with a signed receipt for each job. "
            f"A worker is theirs with its defaults (PgQueuer finishes in batches of {BATCH}) and an empty task."
        ),
    )
