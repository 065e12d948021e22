"""What a million jobs cost on AWS and where the limits lie, worked out from the figures of the benches.

`make capacity ARGS="--memory-mb 1024"`. Each assumption is an option, each price stands in
docs/operate/aws-prices.json, and what was measured comes from `make bench` and `make bench ARGS="cold"`.
"""

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.report import FOLDER, show

PRICES = Path(__file__).parents[2] / "docs" / "operate" / "aws-prices.json"
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html: with so many a function has one processor.
_MB_OF_ONE_CPU = 1769
_GB = 10**9
_REQUESTS_OF_CYCLE = 3
_MONTH_SECONDS = 30 * 24 * 3600


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """What depends on who uses it; each is an option of the command."""

    jobs_per_second: float = 10.0
    memory_mb: int = 512
    # Of clients that look at their jobs, idle miners' polls, and heartbeats; a cycle's own three not counted.
    further_requests_per_job: float = 3.0
    cold_starts_per_thousand: float = 5.0
    # From a function to its database and back.
    trip_ms: float = 1.0
    trips_per_request: float = 3.0
    # Until the server's disks have it.
    commit_ms: float = 3.0
    log_bytes_per_request: int = 400
    # Of an answer, with its headers.
    bytes_out_per_request: int = 1500
    ios_per_job: float = 30.0
    signed_by_kms: bool = False
    # Of the server's work that it may have to do at most: the rest is for peaks.
    utilisation: float = 0.5
    max_connections: int = 100
    lambda_concurrency: int = 1000


@dataclass(frozen=True)
class Measured:
    """One kind of database's figures of the benches."""

    # Three requests, one after the other, with nothing else to do: on one processor, database and all.
    cycle_ms: float
    # How many use cases go through without HTTP, and on how many processors with the database on the same machine.
    direct_cycles_per_second: float
    cpus: int
    bytes_per_job: float
    init_ms: float

    @classmethod
    def read(cls, folder: Path, kind: str) -> "Measured":
        """Raises FileNotFoundError where a bench has not run, KeyError where it ran without this database."""
        cycles, cold = (json.loads((folder / f"{name}.json").read_text()) for name in ("cycles", "cold"))
        of_kind = cycles[kind]
        return cls(
            cycle_ms=1000 / of_kind["in_turn_cycles_per_second"],
            direct_cycles_per_second=of_kind["direct_cycles_per_second"],
            cpus=cycles["machine"]["cpus"],
            bytes_per_job=of_kind["bytes_per_job"],
            init_ms=cold[kind]["ClientFunction"]["init_cpu_ms"],
        )


@dataclass(frozen=True)
class Capacity:
    """The costs of a million jobs by what is paid for, and jobs a second at which each limit is reached."""

    request_ms: float
    costs: dict[str, float]
    limits: dict[str, float]
    storage_per_month: float


def capacity(measured: Measured, prices: dict[str, Any], given: Assumptions) -> Capacity:
    """Rather too much than too little: all of a request is taken for work, which a share of a processor stretches."""
    requests = _REQUESTS_OF_CYCLE + given.further_requests_per_job
    stretch = max(1.0, _MB_OF_ONE_CPU / given.memory_mb)
    request_ms = measured.cycle_ms / _REQUESTS_OF_CYCLE * stretch + given.trip_ms * given.trips_per_request
    init_ms = measured.init_ms * given.cold_starts_per_thousand / 1000
    gb_seconds = requests * (request_ms + init_ms) / 1000 * given.memory_mb / 1024
    # One ACU is taken for a quarter of a processor; all the machine's work of a cycle for the server's.
    server_cpu_seconds = measured.cpus / measured.direct_cycles_per_second
    acu_hours = server_cpu_seconds * 4 / 3600 / given.utilisation
    costs = {
        "Lambda, requests": requests * prices["lambda_million_requests"],
        "Lambda, time": 1e6 * gb_seconds * prices["lambda_gb_second_x86_64"],
        "API Gateway": requests * prices["http_api_million_requests"],
        "data to the internet": 1e6 * requests * given.bytes_out_per_request / _GB * prices["internet_out_gb"],
        "logs": 1e6 * requests * given.log_bytes_per_request / _GB * prices["logs_ingested_gb"],
        "database, work": 1e6 * acu_hours * prices["aurora_acu_hour"],
        "database, I/O": given.ios_per_job * prices["aurora_million_ios"],
        "KMS": prices["kms_million_ecc_signatures"] if given.signed_by_kms else 0.0,
    }
    busy = requests * request_ms / 1000
    limits = {
        "connections, without a pooler": given.max_connections / busy,
        "Lambda concurrency": given.lambda_concurrency / busy,
        # Its row is locked from the statement that posts to the ledger, which travels with the commit.
        "one payer or one payee": 1000 / (given.trip_ms + given.commit_ms),
        "a database with two processors": 2 * given.utilisation / server_cpu_seconds,
    }
    storage = 1e6 * measured.bytes_per_job / _GB * prices["aurora_storage_gb_month"]
    return Capacity(request_ms, costs, limits, storage)


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    kind, folder, prices = options.pop("kind"), options.pop("bench"), json.loads(options.pop("prices").read_text())
    given = Assumptions(**options)
    try:
        measured = Measured.read(folder, kind)
    except (FileNotFoundError, KeyError) as error:
        parser.error(f'run `make bench` and `make bench ARGS="cold"` first: {error}')
    _show(measured, prices, given, capacity(measured, prices, given))
    return 0


def _show(measured: Measured, prices: dict[str, Any], given: Assumptions, found: Capacity) -> None:
    total = sum(found.costs.values())
    month = given.jobs_per_second * _MONTH_SECONDS / 1e6
    show(
        f"A million jobs, {prices['region']}, {prices['as_of']}",
        ("what", prices["currency"]),
        [*((name, f"{cost:.2f}") for name, cost in found.costs.items()), ("all", f"{total:.2f}")],
        note=f"A request takes {found.request_ms:.0f} ms. A million jobs leave {measured.bytes_per_job / 1000:.1f} GB, "
        f"for {found.storage_per_month:.2f} a month.",
    )
    show(
        f"Where the limits lie, and {given.jobs_per_second:g} jobs a second",
        ("limit", "jobs a second", "reached by now"),
        [
            (name, f"{limit:.0f}", f"{given.jobs_per_second / limit:.0%}")
            for name, limit in sorted(found.limits.items(), key=lambda item: item[1])
        ],
        note=f"{month:,.0f} million jobs a month: {month * total:,.0f}. Environments that are busy at once: "
        f"{math.ceil(given.lambda_concurrency * given.jobs_per_second / found.limits['Lambda concurrency'])}",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make capacity", description=__doc__)
    parser.add_argument("--bench", type=Path, default=FOLDER, help="where the figures of the benches are")
    parser.add_argument("--prices", type=Path, default=PRICES, help="a file like docs/operate/aws-prices.json")
    parser.add_argument("--kind", choices=["postgresql", "sqlite"], default="postgresql", help="%(default)s")
    for name, default in vars(Assumptions()).items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(default, bool):
            parser.add_argument(option, action="store_true")
        else:
            parser.add_argument(option, type=type(default), default=default, help="%(default)s")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
