"""What hashing and signing take of the call that brings a result."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.bench.databases import Databases
from tests.bench.emulator import variables
from tests.bench.load import JOB, RESULT
from tests.bench.processes import alone
from tests.bench.report import percentile, say, show
from tests.bench.size import Size

FULL = Size(rounds=1000)
TINY = Size(rounds=20)

_WARM_UP = 20
_WANTED_PERCENT = 15
_KEY = "bench-key-0123456789"
_RESULTS: dict[str, Any] = {
    "a short text": RESULT,
    "768 floats": {"embedding": [number / 769 for number in range(768)]},
    "64 KiB of text": {"text": "x" * 65_536},
}
# Where the use case calls what is to be timed: its two hashes, and the proof, which hashes nothing but its own text.
_PARTS = {
    "canonical JSON and hashes": (
        ("coordinator.jobs.results", "canonical_json"),
        ("coordinator.jobs.results", "sha256_hex"),
    ),
    "proof": (("coordinator.receipts.issuing", "sign_compact"),),
}


def run(size: Size, databases: Databases) -> tuple[dict[str, Any], list[str]]:
    """The figures, and what went wrong."""
    assert size.rounds
    figures: dict[str, Any] = {}
    for kind in databases.kinds:
        say(f"receipts, {kind}: {size.rounds} results of each size")
        with databases.fresh(kind) as url:
            environment = {**variables(url), "API_KEYS": _KEY, "RATE_LIMIT_CLIENT": "0", "RATE_LIMIT_MINER": "0"}
            figures[kind] = alone(_measure, size.rounds, variables=environment)
        _show(kind, figures[kind])
    return figures, []


def _measure(rounds: int) -> dict[str, dict[str, float]]:
    import client.app
    import miner.app

    asyncio.set_event_loop(asyncio.new_event_loop())
    _call(miner.app.handler, "POST", "/v1/miner/register", {"address": "bench", "capabilities": [JOB["job_type"]]})
    measured: dict[str, dict[str, list[float]]] = {name: {part: [] for part in ("call", *_PARTS)} for name in _RESULTS}
    for number in range(-_WARM_UP, rounds):
        for name, result in _RESULTS.items():
            _call(client.app.handler, "POST", "/v1/client/jobs", JOB)
            [job] = _call(miner.app.handler, "GET", "/v1/miner/jobs", None)[1]["items"]
            answer = {"job_id": job["id"], "lease_token": job["lease_token"], "result": result}
            with _timed() as taken:
                milliseconds, _ = _call(miner.app.handler, "POST", "/v1/miner/result", answer)
            if number >= 0:
                for part, value in {"call": milliseconds, **taken}.items():
                    measured[name][part].append(value)
    return {name: {part: percentile(values, 50) for part, values in parts.items()} for name, parts in measured.items()}


@contextmanager
def _timed() -> Iterator[dict[str, float]]:
    """Milliseconds that go into each part in the meantime."""
    import importlib

    taken = dict.fromkeys(_PARTS, 0.0)
    replaced = []
    for part, functions in _PARTS.items():
        for module_name, name in functions:
            module = importlib.import_module(module_name)
            function = getattr(module, name)
            replaced.append((module, name, function))
            setattr(module, name, _noting(function, taken, part))
    try:
        yield taken
    finally:
        for module, name, function in replaced:
            setattr(module, name, function)


def _noting(function: Callable[..., Any], taken: dict[str, float], part: str) -> Callable[..., Any]:
    def noting(*arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            taken[part] += (time.perf_counter() - began) * 1000

    return noting


def _call(handler: Callable[..., Any], method: str, path: str, body: Any) -> tuple[float, Any]:
    event = {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": "",
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


def _show(kind: str, figures: dict[str, dict[str, float]]) -> None:
    show(
        f"receipts, {kind}: milliseconds of POST /v1/miner/result in its function, medians",
        ("result", "call", *_PARTS, "of the call"),
        [
            (
                name,
                *(f"{value:.2f}" for value in parts.values()),
                f"{100 * sum(parts[part] for part in _PARTS) / parts['call']:.0f} %",
            )
            for name, parts in figures.items()
        ],
        note=f"{_WANTED_PERCENT} % at most are wanted.",
    )
