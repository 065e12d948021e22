"""Full cycles (submit, claim, result) over HTTP beside the same use cases without HTTP."""

import statistics
from typing import Any

from tests.bench import load
from tests.bench.databases import Databases
from tests.bench.emulator import emulator
from tests.bench.filling import stored_bytes
from tests.bench.report import PERCENTS, percentile, percentiles, say, show
from tests.bench.size import Size

FULL = Size(jobs=2000, rounds=3, clients=8, miners=8)
TINY = Size(jobs=100, rounds=1, clients=4, miners=4)

_WARM_UP_SHARE = 10
_HEALTH_CALLS = 500
# Without HTTP as many processes as the machine keeps busy.
_PROCESSES = 4


def run(size: Size, databases: Databases) -> tuple[dict[str, Any], list[str]]:
    """The figures, and what went wrong."""
    figures: dict[str, Any] = {}
    for kind in databases.kinds:
        with databases.fresh(kind) as url, emulator(url) as served:
            say(f"cycles, {kind}: warming up")
            load.full_cycles(served.port, _market(served.keys, size), size.jobs // _WARM_UP_SHARE)
            rounds, before = [], stored_bytes(url)
            for number in range(size.rounds):
                say(f"cycles, {kind}: round {number + 1} of {size.rounds}, {size.jobs} jobs")
                rounds.append(_round(served.port, served.keys, url, size))
            figures[kind] = _figures(rounds, load.health(served.port, _HEALTH_CALLS))
            jobs = sum(outcome.cycles for each in rounds for outcome in each.values())
            figures[kind]["bytes_per_job"] = (stored_bytes(url) - before) / jobs
            _show(kind, size, figures[kind])
    failures = [f"{kind}: {count} times {what}" for kind, each in figures.items() for what, count in each["errors"]]
    failures += [f"{kind}: a job was given out twice" for kind, each in figures.items() if each["jobs_given_out_twice"]]
    return figures, failures


def _market(keys: dict[str, str], size: Size) -> load.Market:
    return load.market(keys, size.clients or 0, size.miners or 0)


def _round(port: int, keys: dict[str, str], url: str, size: Size) -> dict[str, load.Outcome]:
    # Close together, so that both meet the machine in the same mood.
    over_http = load.full_cycles(port, _market(keys, size), size.jobs)
    direct = load.without_http(url, size.jobs, _PROCESSES)
    return {"http": over_http, "direct": direct, "in_turn": load.in_turn(port, keys, max(50, size.jobs // 10))}


def _figures(rounds: list[dict[str, load.Outcome]], health: list[float]) -> dict[str, Any]:
    http = [each["http"] for each in rounds]
    latencies = {
        name: {
            f"p{p}": statistics.median(percentile(outcome.milliseconds[name], p) for outcome in http) for p in PERCENTS
        }
        for name in ("submit", "claim", "result")
    }
    return {
        "http_cycles_per_second": statistics.median(o.cycles_per_second for o in http),
        "direct_cycles_per_second": statistics.median(each["direct"].cycles_per_second for each in rounds),
        "http_to_direct": statistics.median(
            each["http"].cycles_per_second / each["direct"].cycles_per_second for each in rounds
        ),
        "in_turn_cycles_per_second": statistics.median(each["in_turn"].cycles_per_second for each in rounds),
        "generator_cpu_ms_per_cycle": statistics.median(1000 * o.generator_cpu_seconds / o.cycles for o in http),
        "milliseconds": {**latencies, "health": percentiles(health)},
        "errors": [(what, count) for o in http for what, count in o.errors.items()],
        "jobs_given_out_twice": sum(o.given_out_twice for o in http),
    }


def _show(kind: str, size: Size, figures: dict[str, Any]) -> None:
    show(
        f"cycles, {kind}: {size.clients} clients, {size.miners} miners, {size.jobs} jobs, "
        f"median of {size.rounds} rounds",
        ("what", "figure"),
        (
            ("full cycles over HTTP", f"{figures['http_cycles_per_second']:.0f} /s"),
            ("full cycles without HTTP", f"{figures['direct_cycles_per_second']:.0f} /s"),
            ("ratio", f"{figures['http_to_direct']:.2f}"),
            ("one client and one miner in turn", f"{figures['in_turn_cycles_per_second']:.0f} cycles/s"),
            ("CPU of the load generator", f"{figures['generator_cpu_ms_per_cycle']:.2f} ms/cycle"),
            ("stored of each job", f"{figures['bytes_per_job']:,.0f} bytes"),
            ("errors", sum(count for _, count in figures["errors"])),
            ("jobs given out twice", figures["jobs_given_out_twice"]),
        ),
    )
    show(
        f"cycles, {kind}: milliseconds over HTTP",
        ("call", *(f"p{p}" for p in PERCENTS)),
        [(name, *(f"{value:.1f}" for value in values.values())) for name, values in figures["milliseconds"].items()],
    )
