"""Measures what the coordinator promises: `make bench`, or `make bench ARGS="claims --sqlite"`."""

import argparse
from dataclasses import asdict, replace
from pathlib import Path

from tests.bench import (
    breakdown,
    claims,
    cold,
    cycles,
    fairness,
    idle,
    ledger,
    limits,
    log,
    logins,
    metrics,
    payments,
    receipts,
    report,
    rivals,
)
from tests.bench.databases import POSTGRES, SQLITE, databases, kinds_here

_BENCHES = {
    "cycles": cycles,
    "breakdown": breakdown,
    "claims": claims,
    "cold": cold,
    "fairness": fairness,
    "idle": idle,
    "ledger": ledger,
    "limits": limits,
    "log": log,
    "logins": logins,
    "metrics": metrics,
    "payments": payments,
    "receipts": receipts,
    "rivals": rivals,
}


def main() -> int:
    parser = _parser()
    options = parser.parse_args()
    kinds = _kinds(options)
    if not kinds:
        parser.error("there is no PostgreSQL server on this machine")
    chosen = list(_BENCHES) if options.bench == "all" else [options.bench]
    given = {name: value for name, value in vars(options).items() if name in _SIZES and value is not None}
    figures, failures = {}, []
    with databases(kinds) as there:
        for name in chosen:
            bench = _BENCHES[name]
            size = bench.TINY if options.tiny else bench.FULL
            size = replace(size, **{what: given[what] for what in given if asdict(size)[what] is not None})
            measured, failed = bench.run(size, there)
            figures[name] = {"size": {k: v for k, v in asdict(size).items() if v is not None}, **measured}
            failures += [f"{name}, {failure}" for failure in failed]
            report.keep(name, figures[name])
    if options.json:
        report.write(options.json, figures)
    for failure in failures:
        report.say(f"wrong: {failure[:500]}")
    return 1 if failures else 0


_SIZES = {
    "jobs": (
        int,
        (
            "cycles, breakdown, rivals: in each round; claims, metrics: in the longest queue; "
            "ledger, log: entries; payments: open ones"
        ),
    ),
    "rounds": (
        int,
        (
            "cycles, ledger, rivals: medians are shown; claims, limits, log, logins, metrics, payments, receipts: "
            "calls of each case"
        ),
    ),
    "seconds": (float, "fairness, idle, rivals: how long each measurement takes"),
    "clients": (int, "cycles, fairness, ledger, rivals"),
    "miners": (int, "cycles, idle"),
}


def _parser() -> argparse.ArgumentParser:
    benches = "\n".join(f"  {name:<10} {str(bench.__doc__).splitlines()[0]}" for name, bench in _BENCHES.items())
    parser = argparse.ArgumentParser(
        prog="make bench",
        usage='make bench ARGS="[BENCH] [options]"',
        description=f"{__doc__}\n\n{benches}\n  all        All of them.\n\nFigures are kept in {report.FOLDER}/.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bench", nargs="?", default="cycles", choices=[*_BENCHES, "all"], help="%(default)s")
    parser.add_argument("--sqlite", action="store_true", help="only on SQLite")
    parser.add_argument("--postgres", action="store_true", help="only on a PostgreSQL server of its own")
    parser.add_argument("--tiny", action="store_true", help="as little as shows that it works")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    for name, (kind, text) in _SIZES.items():
        parser.add_argument(f"--{name}", type=kind, help=text)
    return parser


def _kinds(options: argparse.Namespace) -> tuple[str, ...]:
    """Those asked for, else both; without a server only SQLite."""
    here = kinds_here()
    if POSTGRES not in here:
        report.say("PostgreSQL is left out: no server is installed")
    wanted = {kind for kind, asked in ((SQLITE, options.sqlite), (POSTGRES, options.postgres)) if asked}
    return tuple(kind for kind in here if not wanted or kind in wanted)
