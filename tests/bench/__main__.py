"""Measures full cycles (submit, claim, result) over HTTP beside the same use cases without HTTP: `make bench`."""

import argparse
import contextlib
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench import load

_REPORT = Path("build/bench/cycles.json")
_READY_SECONDS = 30
_WARM_UP_JOBS = 200
_HEALTH_CALLS = 500


def main() -> int:
    options = _options()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        database_url = options.database_url
        if options.postgres:
            from tests.databases import postgres_binaries, running_postgres

            binaries = postgres_binaries()
            if binaries is None:
                print("There is no PostgreSQL server on this machine.", file=sys.stderr)
                return 2
            database_url = stack.enter_context(running_postgres(binaries)).new_database()
        database_url = database_url or f"sqlite:///{folder / 'volume' / 'coordinator.db'}"
        port, keys = stack.enter_context(_emulator(folder, database_url))
        load.full_cycles(port, keys, _WARM_UP_JOBS, options.clients, options.miners)
        rounds = [_round(port, keys, database_url, options) for _ in range(options.rounds)]
        health = load.health(port, _HEALTH_CALLS)
    report = _report(options, database_url.partition(":")[0], rounds, health)
    _REPORT.parent.mkdir(parents=True, exist_ok=True)
    for path in filter(None, (_REPORT, options.json)):
        path.write_text(json.dumps(report, indent=1) + "\n")
    _print(report)
    return 1 if report["errors"] or report["jobs_given_out_twice"] else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000, help="in each round; %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="%(default)s; medians are shown")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--miners", type=int, default=8)
    parser.add_argument("--processes", type=int, default=4, help="without HTTP; %(default)s")
    parser.add_argument("--postgres", action="store_true", help="on a PostgreSQL server of its own instead of SQLite")
    parser.add_argument("--database-url", help="on this database instead")
    parser.add_argument("--json", type=Path, help=f"write the figures there too, not only to {_REPORT}")
    return parser.parse_args()


def _round(port: int, keys: dict[str, str], database_url: str, options: argparse.Namespace) -> dict[str, Any]:
    # Close together, so that both meet the machine in the same mood.
    over_http = load.full_cycles(port, keys, options.jobs, options.clients, options.miners)
    direct = load.without_http(database_url, options.jobs, options.processes)
    turns = load.in_turn(port, keys, max(100, options.jobs // 10))
    return {"http": over_http, "direct": direct, "in_turn": turns}


@contextlib.contextmanager
def _emulator(folder: Path, database_url: str) -> Iterator[tuple[int, dict[str, str]]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    limits_off = {f"RATE_LIMIT_{group}": "0" for group in ("CLIENT", "MINER", "USER")}
    with (folder / "emulator.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "local", "--port", str(port), "--volume", str(folder / "volume")),
                *("--no-reload", "--quiet"),
            ],
            env={**os.environ, "DATABASE_URL": database_url, **limits_off},
            stdout=log,
            stderr=log,
        )
    try:
        until = time.monotonic() + _READY_SECONDS
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5).close()
                break
            if process.poll() is not None or time.monotonic() > until:
                sys.exit(f"the emulator is not ready:\n{(folder / 'emulator.log').read_text()}")
            time.sleep(0.05)
        yield port, json.loads((folder / "volume" / "keys.json").read_text())
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)


def _report(
    options: argparse.Namespace, database: str, rounds: list[dict[str, Any]], health: list[float]
) -> dict[str, Any]:
    http = [each["http"] for each in rounds]
    latencies = {
        name: {
            f"p{p}": statistics.median(_percentile(outcome.milliseconds[name], p) for outcome in http)
            for p in (50, 95, 99)
        }
        for name in ("submit", "claim", "result")
    }
    return {
        "database": database,
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
        "jobs": options.jobs,
        "rounds": options.rounds,
        "clients": options.clients,
        "miners": options.miners,
        "http_cycles_per_second": statistics.median(o.cycles_per_second for o in http),
        "direct_cycles_per_second": statistics.median(each["direct"].cycles_per_second for each in rounds),
        "http_to_direct": statistics.median(
            each["http"].cycles_per_second / each["direct"].cycles_per_second for each in rounds
        ),
        "in_turn_cycles_per_second": statistics.median(each["in_turn"].cycles_per_second for each in rounds),
        "generator_cpu_ms_per_cycle": statistics.median(1000 * o.generator_cpu_seconds / o.cycles for o in http),
        "milliseconds": {**latencies, "health": {f"p{p}": _percentile(health, p) for p in (50, 95, 99)}},
        "errors": {kind: count for o in http for kind, count in o.errors.items()},
        "jobs_given_out_twice": sum(o.given_out_twice for o in http),
    }


def _percentile(values: list[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def _print(report: dict[str, Any]) -> None:
    console = Console()
    table = Table(
        title=f"{report['clients']} clients, {report['miners']} miners, {report['database']}, "
        f"{report['jobs']} jobs, median of {report['rounds']} rounds"
    )
    table.add_column("what")
    table.add_column("figure", justify="right")
    for what, figure in (
        ("full cycles over HTTP", f"{report['http_cycles_per_second']:.0f} /s"),
        ("full cycles without HTTP", f"{report['direct_cycles_per_second']:.0f} /s"),
        ("ratio", f"{report['http_to_direct']:.2f}"),
        ("one client and one miner in turn", f"{report['in_turn_cycles_per_second']:.0f} cycles/s"),
        ("CPU of the load generator", f"{report['generator_cpu_ms_per_cycle']:.2f} ms/cycle"),
        ("errors", str(sum(report["errors"].values()))),
        ("jobs given out twice", str(report["jobs_given_out_twice"])),
    ):
        table.add_row(what, figure)
    console.print(table)
    latencies = Table(title="milliseconds over HTTP")
    for heading in ("call", "p50", "p95", "p99"):
        latencies.add_column(heading, justify="left" if heading == "call" else "right")
    for name, values in report["milliseconds"].items():
        latencies.add_row(name, *(f"{values[p]:.1f}" for p in ("p50", "p95", "p99")))
    console.print(latencies)
    for kind, count in list(report["errors"].items())[:5]:
        console.print(f"{count} times: {kind[:300]}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
