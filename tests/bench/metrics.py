"""The time of one GET /metrics, from a thousand to a million jobs waiting."""

import time
from typing import Any

from tests.bench import filling
from tests.bench.clockwork import SqlClock
from tests.bench.databases import Databases
from tests.bench.emulator import variables
from tests.bench.processes import alone
from tests.bench.report import percentiles, say, show
from tests.bench.size import Size

FULL = Size(jobs=1_000_000, rounds=300)
TINY = Size(jobs=2_000, rounds=20)

_SMALLEST = 1_000
_ENVIRONMENTS = 30
_MINERS = 1_000
_WANTED_MS = 5.0
_KINDS: list[tuple[str, dict[str, Any]]] = [("llm_inference", {}), ("transcription", {"region": "eu"})]


def run(size: Size, databases: Databases) -> tuple[dict[str, Any], list[str]]:
    """The figures, and what went wrong."""
    sizes = [_SMALLEST, size.jobs]
    figures: dict[str, Any] = {"sizes": sizes, "environments": _ENVIRONMENTS, "miners": _MINERS}
    failures = []
    for kind in databases.kinds:
        with databases.fresh(kind) as url:
            figures[kind] = alone(_measure_all, kind, sizes, size.rounds, variables=variables(url))
        failures += [f"{kind}: {each['wrong']}" for each in figures[kind] if each["wrong"]]
        _show(kind, sizes, figures[kind])
    return figures, failures


def _measure_all(kind: str, sizes: list[int], rounds: int) -> list[dict[str, Any]]:
    """At each size, in a process that has the database for itself."""
    from coordinator.core import clock
    from coordinator.core.config import settings
    from coordinator.core.database import database
    from coordinator.core.ids import new_id
    from coordinator.jobs import leases
    from coordinator.miners.schemas import MinerRegister

    classes = filling.class_rows(_KINDS)
    filling.fill(settings().database.value, {"job_classes": classes})
    for number in range(_MINERS):
        body = MinerRegister(address=f"bench-{number}", capabilities=["custom"])
        database().write(lambda tx, body=body: leases.register(tx, new_id(), body))  # type: ignore[misc]
    _count_in_many_environments()
    measured = []
    jobs = 0
    for size in sizes:
        say(f"metrics, {kind}: filling up to {size:,} jobs")
        rows = filling.job_rows(size - jobs, _KINDS, [row["number"] for row in classes], clock.machine_now_us())
        filling.fill(settings().database.value, {"jobs": rows})
        jobs = size
        measured.append(_measure(jobs, rounds))
    return measured


def _count_in_many_environments() -> None:
    """As much as functions that have served all their routes have counted."""
    from coordinator.core.database import database
    from coordinator.http.metrics import Observed
    from coordinator.metrics.counters import counters

    for _ in range(_ENVIRONMENTS):
        counters.cache_clear()
        for route in range(10):
            for status in (200, 201, 404, 409, 422):
                for seconds in (0.0005, 0.002, 0.004, 0.008, 0.02, 0.1):
                    Observed("client", "POST", f"/v1/client/jobs/{{job_id}}/route-{route}", status, seconds).note()
        counters().flush(database())


def _measure(jobs: int, rounds: int) -> dict[str, Any]:
    import public.app
    from coordinator.core.database import database

    sql = SqlClock(database().engine)
    event = {
        "version": "2.0",
        "rawPath": "/metrics",
        "rawQueryString": "",
        "headers": {},
        "requestContext": {"http": {"method": "GET", "path": "/metrics", "sourceIp": "::1"}},
    }
    whole: list[float] = []
    statements: list[float] = []
    for _ in range(rounds + 1):
        sql.reset()
        began = time.perf_counter()
        text = public.app.handler(event, None)["body"]
        whole.append((time.perf_counter() - began) * 1000)
        statements.append(sql.milliseconds())
    told = f"active_jobs {jobs}\n" in text and f"registered_miners {_MINERS}\n" in text
    return {
        "handler_ms": percentiles(whole[1:]),
        "statements_ms": percentiles(statements[1:]),
        "wrong": "" if told else f"of {jobs:,} jobs and {_MINERS} miners: {text[-900:]}",
    }


def _show(kind: str, sizes: list[int], measured: list[dict[str, Any]]) -> None:
    rows = [
        (what, *(f"{each[name]['p50']:.2f} / {each[name]['p99']:.2f}" for each in measured))
        for what, name in (("whole request in the function", "handler_ms"), ("SQL statements", "statements_ms"))
    ]
    show(
        f"metrics, {kind}: milliseconds of GET /metrics, median / p99",
        ("what", *(f"{size:,} jobs" for size in sizes)),
        rows,
        note=f"{_ENVIRONMENTS} environments, {_MINERS:,} miners; the median is to be below {_WANTED_MS:g} ms.",
    )
