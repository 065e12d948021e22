"""How fast the log of receipts grows, what proofs take as it does, and what it adds to a result."""

import asyncio
import importlib
import json
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.bench import filling
from tests.bench.databases import Databases
from tests.bench.emulator import variables
from tests.bench.load import JOB, RESULT
from tests.bench.processes import alone
from tests.bench.report import percentile, say, show
from tests.bench.size import Size

# Of receipts the larger log has so many as `jobs`; of calls there are so many as `rounds` of each kind.
FULL = Size(jobs=1_000_000, rounds=1000)
TINY = Size(jobs=2_000, rounds=20)

_SMALL = 1_000
_WAITING_SHARE = 50
_BLOCK = 20
_WANTED_PER_SECOND, _WANTED_MILLISECONDS = 500, 20
_KEY = "bench-key-0123456789"
_PROOF = "eyJhbGciOiJFZDI1NTE5IiwidHlwIjoiSldTIn0." + "x" * 1_100


def run(size: Size, databases: Databases) -> tuple[dict[str, Any], list[str]]:
    """The figures, and what went wrong."""
    assert size.jobs
    assert size.rounds
    figures: dict[str, Any] = {}
    for kind in databases.kinds:
        proofs = {}
        for receipts in (min(_SMALL, size.jobs), size.jobs):
            with databases.fresh(kind) as url:
                say(f"log, {kind}: filling up to {receipts:,} receipts")
                alone(_fill, receipts, variables=variables(url))
                proofs[receipts] = alone(_prove, receipts, size.rounds, variables=variables(url))
                # The large log grows as fast as the small one, if it is right.
                growth = alone(_grow, size.jobs // _WAITING_SHARE, variables=variables(url))
        with databases.fresh(kind) as url:
            say(f"log, {kind}: {size.rounds} results with it and without it")
            results = alone(_answer, size.rounds, variables={**variables(url), "API_KEYS": _KEY})
        figures[kind] = {"proofs_ms": proofs, **growth, "result_ms": results}
        _show(kind, figures[kind])
    return figures, []


def _fill(receipts: int) -> None:
    """Receipts that the log has; nobody asks for more of them than their place in it."""
    from aitbc_verify.merkle import leaf_hash
    from coordinator.core.config import settings
    from coordinator.core.ids import new_id
    from coordinator.receipts.tree import Edge

    def rows() -> Iterator[filling.Row]:
        edge = Edge(0, [])
        for index in range(receipts):
            hashes = edge.add(leaf_hash(f"{_PROOF}{index}".encode()))
            yield {"log_index": index, "receipt_id": new_id(), "hashes": hashes}

    filling.fill(settings().database.value, {"receipt_log": rows()})


def _prove(receipts: int, rounds: int) -> dict[str, float]:
    from sqlalchemy import select

    from coordinator.core.database import database
    from coordinator.receipts.models import receipt_log

    draw = random.Random(receipts)
    handler = importlib.import_module("receipts.app").handler
    places = [draw.randrange(receipts) for _ in range(rounds)]
    asked = select(receipt_log.c.log_index, receipt_log.c.receipt_id).where(receipt_log.c.log_index.in_(places))
    id_at = database().read(lambda tx: {row.log_index: row.receipt_id for row in tx.execute(asked)})
    asyncio.set_event_loop(asyncio.new_event_loop())
    calls = {
        "inclusion": lambda number: f"/v1/receipts/{id_at[places[number]]}/inclusion",
        "consistency": lambda number: f"/v1/receipts/consistency?from={places[number]}&to={receipts}",
        "checkpoint": lambda _: "/v1/receipts/checkpoint",
    }
    # Signs the first checkpoint.
    _call(handler, "GET", calls["checkpoint"](0), None)
    return {
        name: percentile([_call(handler, "GET", path(number), None)[0] for number in range(rounds)], 50)
        for name, path in calls.items()
    }


def _grow(waiting: int) -> dict[str, float]:
    """The schedule's work, over receipts that were issued since."""
    from coordinator.core.config import settings
    from coordinator.core.ids import new_id
    from receipts.growth import handler

    def rows() -> Iterator[filling.Row]:
        for number in range(waiting):
            yield {
                "id": new_id(),
                "job_id": new_id(),
                "attempt": 1,
                "miner_id": "miner",
                "client_id": "client",
                "result_sha256": "",
                "parameters_sha256": "",
                "units": 1.0,
                "unit_type": "seconds",
                "price_atoms": 0,
                "started_us": 0,
                "completed_us": 0,
                "created_us": 0,
                "proof": f"{_PROOF}{number}",
                "result": json.dumps(RESULT),
            }

    filling.fill(settings().database.value, {"receipts": rows()})
    began, cpu = time.perf_counter(), time.process_time()
    taken = handler({}, None)["taken"]
    return {
        "taken": taken,
        "taken_per_second": taken / (time.perf_counter() - began),
        "cpu_us_a_receipt": (time.process_time() - cpu) / taken * 1e6,
    }


def _answer(rounds: int) -> dict[str, float]:
    """Milliseconds of a result, in blocks with the log's trigger and without it in turn."""
    import client.app
    import miner.app

    asyncio.set_event_loop(asyncio.new_event_loop())
    _call(miner.app.handler, "POST", "/v1/miner/register", {"address": "bench", "capabilities": [JOB["job_type"]]})
    measured: dict[str, list[float]] = {"without": [], "with": []}
    for block in range(-1, rounds // _BLOCK):
        for case, values in measured.items():
            _set_trigger(case == "with")
            for _ in range(_BLOCK):
                _call(client.app.handler, "POST", "/v1/client/jobs", JOB)
                [job] = _call(miner.app.handler, "GET", "/v1/miner/jobs", None)[1]["items"]
                answer = {"job_id": job["id"], "lease_token": job["lease_token"], "result": RESULT}
                milliseconds, _ = _call(miner.app.handler, "POST", "/v1/miner/result", answer)
                if block >= 0:
                    values.append(milliseconds)
    return {case: percentile(values, 50) for case, values in measured.items()}


_TRIGGER_OF_SQLITE = """
CREATE TRIGGER IF NOT EXISTS receipts_wait_for_log AFTER INSERT ON receipts
BEGIN INSERT INTO receipt_log_waiting VALUES (NEW.id); END
"""


def _set_trigger(on: bool) -> None:
    from sqlalchemy import text

    from coordinator.core.database import database

    if database().engine.dialect.name == "sqlite":
        statement = _TRIGGER_OF_SQLITE if on else "DROP TRIGGER IF EXISTS receipts_wait_for_log"
    else:
        statement = f"ALTER TABLE receipts {'ENABLE' if on else 'DISABLE'} TRIGGER receipts_wait_for_log"
    database().write(lambda tx: tx.execute(text(statement)))


def _call(handler: Callable[..., Any], method: str, path: str, body: Any) -> tuple[float, Any]:
    path, _, query = path.partition("?")
    event = {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {"content-type": "application/json", "x-api-key": _KEY},
        "requestContext": {"http": {"method": method, "path": path, "sourceIp": "::1"}},
        "body": None if body is None else json.dumps(body),
        "isBase64Encoded": False,
    }
    began = time.perf_counter()
    answer = handler(event, None)
    milliseconds = (time.perf_counter() - began) * 1000
    if answer["statusCode"] not in (200, 201):
        raise RuntimeError(f"{method} {path}: {answer['statusCode']} {answer['body'][:300]}")
    return milliseconds, json.loads(answer["body"])


def _show(kind: str, figures: dict[str, Any]) -> None:
    show(
        f"log, {kind}: milliseconds of a proof in its function, medians",
        ("receipts", *next(iter(figures["proofs_ms"].values()))),
        [
            (f"{receipts:,}", *(f"{value:.2f}" for value in found.values()))
            for receipts, found in figures["proofs_ms"].items()
        ],
        note=f"{_WANTED_MILLISECONDS} ms at most are wanted.",
    )
    show(
        f"log, {kind}: growth, and what it adds to a result",
        ("what", "figure"),
        (
            (f"receipts taken in a second, of {figures['taken']:,}", f"{figures['taken_per_second']:,.0f}"),
            ("CPU of it in Python, each", f"{figures['cpu_us_a_receipt']:.0f} us"),
            *(
                (f"POST /v1/miner/result {case} the log, median", f"{value:.2f} ms")
                for case, value in figures["result_ms"].items()
            ),
        ),
        note=f"{_WANTED_PER_SECOND} a second or more are wanted.",
    )
