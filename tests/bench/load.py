"""The loads: clients and miners over HTTP, and the same use cases without HTTP."""

import resource
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.bench import emulator
from tests.bench.http import Connection
from tests.bench.processes import Meet, together

JOB = {"job_type": "llm_inference", "parameters": {"prompt": "The capital of France is", "max_tokens": 32}}
RESULT = {"text": " Paris.", "usage": {"prompt_tokens": 6, "completion_tokens": 2}}
_STALLED_SECONDS = 60
# An idle miner would wait longer; here it is to be there when a job comes.
_LONGEST_PAUSE_SECONDS = 0.02


@dataclass
class Outcome:
    seconds: float = 0.0
    cycles: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    given_out_twice: int = 0
    milliseconds: dict[str, list[float]] = field(default_factory=dict)
    generator_cpu_seconds: float = 0.0

    @property
    def cycles_per_second(self) -> float:
        return self.cycles / self.seconds


@dataclass
class _Part:
    """What one process of the load has seen."""

    began: float = 0.0
    ended: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)
    leased: Counter[str] = field(default_factory=Counter)
    milliseconds: dict[str, list[float]] = field(default_factory=dict)
    cpu_seconds: float = 0.0


@dataclass(frozen=True)
class Market:
    """The key of each client, key and address of each miner; what clients offer and miners ask."""

    clients: list[str]
    miners: list[tuple[str, str]]
    max_price: str = "0"
    price: str = "0"


def market(keys: dict[str, str], clients: int, miners: int) -> Market:
    """So many clients of one key and miners of another one, who work for nothing."""
    return Market([keys["client"]] * clients, [(keys["miner"], f"bench-{number}") for number in range(miners)])


def full_cycles(port: int, who: Market, jobs: int) -> Outcome:
    """Clients submit, miners lease and answer, all as fast as they can, until all jobs are done."""
    parts = together((_run_clients, (port, who, jobs)), (_run_miners, (port, who, jobs)))
    outcome = Outcome(seconds=max(p.ended for p in parts) - min(p.began for p in parts))
    leased: Counter[str] = Counter()
    for part in parts:
        outcome.errors += part.errors
        leased += part.leased
        outcome.generator_cpu_seconds += part.cpu_seconds
        for name, values in part.milliseconds.items():
            outcome.milliseconds.setdefault(name, []).extend(values)
    outcome.cycles = len(leased)
    outcome.given_out_twice = sum(1 for count in leased.values() if count > 1)
    return outcome


def in_turn(port: int, keys: dict[str, str], jobs: int) -> Outcome:
    """One client and one miner, each waiting for the other."""
    client = Connection(port, {"X-Api-Key": keys["client"]})
    miner = _registered(port, keys["miner"], "bench-in-turn")
    outcome = Outcome(cycles=jobs)
    began = time.perf_counter()
    for _ in range(jobs):
        client.call("submit", "POST", "/v1/client/jobs", JOB)
        _, answer = miner.call("claim", "GET", "/v1/miner/jobs?limit=1")
        [assignment] = answer["items"]
        miner.call("result", "POST", "/v1/miner/result", _answer_to(assignment))
    outcome.seconds = time.perf_counter() - began
    outcome.milliseconds = client.milliseconds | miner.milliseconds
    _deregister(miner)
    return outcome


def health(port: int, count: int) -> list[float]:
    """Milliseconds of warm GET /health."""
    connection = Connection(port, {})
    for _ in range(count):
        connection.call("health", "GET", "/health")
    return connection.milliseconds["health"]


def without_http(database_url: str, jobs: int, processes: int) -> Outcome:
    """The same use cases, called directly in as many processes as the machine keeps busy."""
    share = jobs // processes
    parts = together(
        *[(_run_use_cases, (share, number)) for number in range(processes)], variables=emulator.variables(database_url)
    )
    seconds = max(p.ended for p in parts) - min(p.began for p in parts)
    return Outcome(seconds=seconds, cycles=share * processes)


def _run_clients(meet: Meet, port: int, who: Market, jobs: int) -> _Part:
    job = JOB if who.max_price == "0" else JOB | {"max_price": who.max_price}
    clients = len(who.clients)
    meet()
    part = _Part(began=time.time())

    def submit(number: int) -> None:
        connection = Connection(port, {"X-Api-Key": who.clients[number]})
        for _ in range(jobs // clients + (1 if number < jobs % clients else 0)):
            status, answer = connection.call("submit", "POST", "/v1/client/jobs", job)
            if status != 201:
                part.errors[f"submit {status} {answer}"] += 1
        _merge(part, connection)

    _in_threads(submit, list(range(clients)))
    return _finished(part)


def _run_miners(meet: Meet, port: int, who: Market, jobs: int) -> _Part:
    done = threading.Semaphore(0)
    stop = threading.Event()
    connections = [_registered(port, key, address, who.price) for key, address in who.miners]
    meet()
    part = _Part(began=time.time())

    def work(connection: Connection) -> None:
        while not stop.is_set():
            status, answer = connection.call("claim", "GET", "/v1/miner/jobs?limit=1")
            if status != 200:
                part.errors[f"claim {status} {answer}"] += 1
                continue
            for assignment in answer["items"]:
                part.leased[assignment["id"]] += not assignment["redelivered"]
                status, answer_to_result = connection.call("result", "POST", "/v1/miner/result", _answer_to(assignment))
                if status == 201:
                    done.release()
                else:
                    part.errors[f"result {status} {answer_to_result}"] += 1
            if not answer["items"]:
                stop.wait(min(answer["poll_after_seconds"], _LONGEST_PAUSE_SECONDS))
        _merge(part, connection)

    threads = [threading.Thread(target=work, args=(connection,)) for connection in connections]
    for thread in threads:
        thread.start()
    for _ in range(jobs):
        if not done.acquire(timeout=_STALLED_SECONDS):
            part.errors["stalled"] += 1
            break
    finished = time.time()
    stop.set()
    for thread in threads:
        thread.join()
    for connection in connections:
        _deregister(connection)
    _finished(part)
    part.ended = finished
    return part


def _run_use_cases(meet: Meet, jobs: int, number: int) -> _Part:
    from coordinator.core.database import database
    from coordinator.core.ids import new_id
    from coordinator.jobs import leases, queue, results, service
    from coordinator.jobs.lease_schemas import ResultCreate
    from coordinator.jobs.schemas import JobCreate
    from coordinator.miners.schemas import MinerRegister

    owner = new_id()
    registration = MinerRegister(address=f"direct-{number}", capabilities=["llm_inference"])
    miner_id = database().write(lambda tx: leases.register(tx, owner, registration)).miner.id
    meet()
    part = _Part(began=time.time())
    for _ in range(jobs):
        database().write(lambda tx: service.submit(tx, owner, JobCreate.model_validate(JOB))).read()
        # While another process is at the only job that this poll sees, it comes back empty.
        while not (items := queue.claim(owner, miner_id, 1).items):
            pass
        [assignment] = items
        answer = ResultCreate(job_id=assignment.id, lease_token=assignment.lease_token, result=RESULT)
        database().write(lambda tx, answer=answer: results.answer(tx, owner, None, answer))  # type: ignore[misc]
    return _finished(part)


def _registered(port: int, key: str, address: str, price: str = "0") -> Connection:
    registering = Connection(port, {"X-Api-Key": key})
    body = {"address": address, "capabilities": ["llm_inference"], "price": price}
    _, miner = registering.call("register", "POST", "/v1/miner/register", body)
    return Connection(port, {"X-Api-Key": key, "X-Miner-Id": miner["id"]})


def _deregister(connection: Connection) -> None:
    connection.call("deregister", "POST", "/v1/miner/deregister")


def _answer_to(assignment: dict[str, Any]) -> dict[str, Any]:
    return {"job_id": assignment["id"], "lease_token": assignment["lease_token"], "result": RESULT}


def _in_threads(function: Any, arguments: list[Any]) -> None:
    threads = [threading.Thread(target=function, args=(argument,)) for argument in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _merge(part: _Part, connection: Connection) -> None:
    for name, values in connection.milliseconds.items():
        part.milliseconds.setdefault(name, []).extend(values)


def _finished(part: _Part) -> _Part:
    part.ended = time.time()
    used = resource.getrusage(resource.RUSAGE_SELF)
    part.cpu_seconds = used.ru_utime + used.ru_stime
    return part
