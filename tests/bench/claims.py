"""The time of one claim, from a thousand to a million jobs waiting."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.bench import filling
from tests.bench.databases import Databases
from tests.bench.emulator import variables
from tests.bench.processes import alone
from tests.bench.report import percentiles, say, show
from tests.bench.size import Size

FULL = Size(jobs=1_000_000, rounds=300)
TINY = Size(jobs=2_000, rounds=20)

_SMALLEST = 1_000
# Slow polls are made for no longer than this.
_LONGEST_SECONDS = 4.0
_MANY = 10_000
_WANTED_RATIO = 1.5

_Kind = tuple[str, dict[str, Any]]
_Fill = Callable[["_Queue", int], None]

_TYPES = ("llm_inference", "text_embedding", "image_generation", "transcription", "training")
_MODELS = [f"model-{number}" for number in range(10)]
# What clients of a busy market might ask for: 50 classes.
_MARKET: list[_Kind] = [(job_type, {"models": [model]}) for job_type in _TYPES for model in _MODELS]
# What nobody here can take, each in a class of its own.
_FOREIGN: list[_Kind] = [("llm_inference", {"region": f"region-{number}"}) for number in range(_MANY)]
# What the miner can take, each in a class of its own.
_OWN: list[_Kind] = [("llm_inference", {"min_vram_gb": 1 + number / 1000}) for number in range(_MANY)]


@dataclass(frozen=True)
class _Case:
    """A miner that asks, and what it meets."""

    name: str
    capabilities: list[Any]
    price: str = "0"
    hardware: dict[str, Any] = field(default_factory=dict)


_OF_ALL = [{"job_type": job_type, "models": _MODELS} for job_type in _TYPES]
_OF_MARKET = (
    _Case("hit", _OF_ALL),
    _Case("miss: other types and models", ["llm_inference", "custom"]),
    _Case("miss: paid too little", _OF_ALL, price="1"),
)
_LARGE_GPU = {"gpus": [{"name": "any", "memory_mb": 81_920}]}
_OF_CROWD = (
    _Case("miss among many classes", ["custom"]),
    _Case("hit among many classes", ["llm_inference"], hardware=_LARGE_GPU),
)


def run(size: Size, databases: Databases) -> tuple[dict[str, Any], list[str]]:
    """The figures, and what went wrong."""
    sizes = [_SMALLEST * 10**power for power in range(4) if _SMALLEST * 10**power < size.jobs] + [size.jobs]
    figures: dict[str, Any] = {"sizes": sizes}
    failures = []
    for kind in databases.kinds:
        measured: dict[str, list[dict[str, Any]]] = {}
        for fill, cases in ((_fill_market, _OF_MARKET), (_fill_crowd, _OF_CROWD)):
            with databases.fresh(kind) as url:
                measured |= alone(_measure_all, kind, fill, cases, sizes, size.rounds, variables=variables(url))
        figures[kind] = measured
        failures += [f"{kind}: {each['wrong']}" for several in measured.values() for each in several if each["wrong"]]
        _show(kind, sizes, measured)
    return figures, failures


def _measure_all(
    kind: str, fill: _Fill, cases: Sequence[_Case], sizes: Sequence[int], polls: int
) -> dict[str, list[dict[str, Any]]]:
    """Each case at each size, in a process that has the database for itself."""
    measured: dict[str, list[dict[str, Any]]] = {case.name: [] for case in cases}
    queue = _Queue()
    for size in sizes:
        say(f"claims, {kind}: filling up to {size:,} jobs")
        fill(queue, size)
        for case in cases:
            measured[case.name].append(_measure(case, polls))
            say(f"claims, {kind}, {size:,} jobs, {case.name}: {_shown(measured[case.name][-1])} ms")
    return measured


class _Queue:
    """What waits already."""

    def __init__(self) -> None:
        self.jobs = 0
        self._numbers: dict[str, int] = {}

    def add(self, count: int, kinds: Sequence[_Kind]) -> None:
        from coordinator.core import clock
        from coordinator.core.config import settings

        now = clock.machine_now_us()
        rows = filling.class_rows(kinds)
        new = [row for row in rows if row["id"] not in self._numbers]
        for row in new:
            self._numbers[row["id"]] = row["number"] = len(self._numbers) + 1
        jobs = filling.job_rows(count, kinds, [self._numbers[row["id"]] for row in rows], now)
        filling.fill(settings().database.value, {**({"job_classes": new} if new else {}), "jobs": jobs})
        self.jobs += count


def _fill_market(queue: _Queue, size: int) -> None:
    """Jobs of all kinds in equal parts."""
    queue.add(size - queue.jobs, _MARKET)


def _fill_crowd(queue: _Queue, size: int) -> None:
    """Jobs for others, and one job for the miner in each class of its own; as many classes as the size allows."""
    own = queue.jobs // 2 if queue.jobs < 2 * _MANY else _MANY
    wanted = min(size // 2, _MANY)
    if wanted > own:
        queue.add(wanted - own, _OWN[own:wanted])
    queue.add(size - queue.jobs, _FOREIGN[:wanted])


def _measure(case: _Case, count: int) -> dict[str, Any]:
    """Polls as a new execution environment would, first cold and then warm.

    What is claimed is answered and submitted again, untimed, so that the queue stays as long as it is.
    """
    from coordinator.core.database import database
    from coordinator.core.ids import new_id
    from coordinator.jobs import leases, queue, results, service
    from coordinator.jobs.lease_schemas import ResultCreate
    from coordinator.jobs.schemas import JobCreate
    from coordinator.miners.schemas import MinerRegister
    from tests.api import forget_process_state

    forget_process_state()
    owner = new_id()
    body = MinerRegister(
        address="bench", capabilities=case.capabilities, price=case.price, hardware=case.hardware, concurrency=10
    )
    miner_id = database().write(lambda tx: leases.register(tx, owner, body)).miner.id
    polls: list[float] = []
    wrong = ""
    until = time.monotonic() + _LONGEST_SECONDS
    while len(polls) <= count and time.monotonic() < until:
        began = time.perf_counter()
        answer = queue.claim(owner, miner_id, 1)
        polls.append((time.perf_counter() - began) * 1000)
        if bool(answer.items) == case.name.startswith("miss"):
            wrong = f"{case.name}: {len(answer.items)} jobs were given out"
        for job in answer.items:
            result = ResultCreate(job_id=job.id, lease_token=job.lease_token, result="done")
            again = JobCreate(
                job_type=job.job_type, parameters=job.parameters, constraints=job.constraints, ttl_seconds=604_800
            )
            database().write(lambda tx, result=result: results.answer(tx, owner, None, result))  # type: ignore[misc]
            database().write(lambda tx, again=again: service.submit(tx, owner, again))  # type: ignore[misc]
    database().write(lambda tx: leases.deregister(tx, owner, None))
    return {
        "first_poll_ms": polls[0],
        "poll_ms": percentiles(polls[1:] or polls),
        "samples": len(polls) - 1,
        "wrong": wrong,
    }


def _shown(figures: dict[str, Any]) -> str:
    return f"{figures['poll_ms']['p50']:.2f} / {figures['poll_ms']['p99']:.2f}"


def _show(kind: str, sizes: Sequence[int], measured: dict[str, list[dict[str, Any]]]) -> None:
    rows = []
    for case, figures in measured.items():
        medians = [each["poll_ms"]["p50"] for each in figures]
        rows.append((case, "poll and commit", *map(_shown, figures), f"{medians[-1] / medians[0]:.2f}"))
        rows.append(("", "first poll", *(f"{each['first_poll_ms']:.1f}" for each in figures), ""))
    show(
        f"claims, {kind}: milliseconds, median / p99",
        ("case", "what", *(f"{size:,} jobs" for size in sizes), f"{sizes[-1]:,} : {sizes[0]:,}"),
        rows,
        note=f"The ratio of medians is to be below {_WANTED_RATIO}.",
    )
