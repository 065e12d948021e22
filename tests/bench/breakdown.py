"""Where the time of one HTTP cycle goes, layer by layer."""

import asyncio
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import uvloop

from tests.bench.databases import Databases
from tests.bench.emulator import Emulator, emulator, variables
from tests.bench.http import Connection
from tests.bench.load import JOB, RESULT
from tests.bench.processes import alone
from tests.bench.report import say, show
from tests.bench.size import Size

FULL = Size(jobs=200)
TINY = Size(jobs=20)

_WARM_UP = 10
_HEALTH = "health"
_CYCLE = ("submit", "claim", "result")

# The ways to make the same call, each through less than the one before; the difference is what a layer takes.
_HTTP, _GATEWAY, _PROCESS, _HANDLER, _USE_CASE, _COMMIT = range(6)
_LAYERS = {
    _HTTP: "web server, socket and client",
    _GATEWAY: "route, HTTP to event and back",
    _PROCESS: "hop to the function's process",
    _HANDLER: "Mangum, FastAPI, validation, API key, log line",
    _USE_CASE: "use case: Python and SQL statements",
    _COMMIT: "commit, and statements that go with it",
}


class _Call(NamedTuple):
    """A call as all ways can make it."""

    name: str
    function: str
    method: str
    path: str
    query: str
    body: Any


# Makes a call; gives its milliseconds and its answer.
_Way = Callable[[_Call], tuple[float, Any]]


def run(size: Size, databases: Databases) -> tuple[dict[str, Any], list[str]]:
    """The figures, and what went wrong."""
    figures: dict[str, Any] = {}
    for kind in databases.kinds:
        say(f"breakdown, {kind}: {size.jobs} cycles each way")
        # The disk's moods are larger than most layers, so these are measured without the disk, and that for itself.
        with databases.fresh(kind, durable=False) as url, emulator(url) as served:
            ways = alone(_ways, served, size.jobs, variables=_variables(url, served))
        with databases.fresh(kind) as url, emulator(url) as served:
            commits = alone(_commits, served, size.jobs, variables=_variables(url, served))
        figures[kind] = {name: _layers(medians, commits.get(name, 0.0)) for name, medians in ways.items()}
        _show(kind, size, figures[kind])
    return figures, []


def _variables(url: str, served: Emulator) -> dict[str, str]:
    return {**variables(url), **{f"{role.upper()}_API_KEYS": served.keys[role] for role in ("client", "miner")}}


def _ways(served: Emulator, cycles: int) -> dict[str, list[float]]:
    """Medians of each call by each way. All ways are gone in turn, so that they meet the machine in the same mood."""
    from local.environments import Functions
    from local.template import read_template
    from local.volume import Volume

    template = read_template(Path("template.yaml"))
    loop = uvloop.new_event_loop()
    functions = Functions(1, lambda *_: None)
    times = _Times()
    with tempfile.TemporaryDirectory() as folder:
        volume = Volume(Path(folder))
        functions.use(template.functions, lambda function: volume.variables(function, os.environ, ""))
        try:
            headers = _Headers(served)
            ways = {
                _HTTP: _over_http(served.port, headers),
                _GATEWAY: _through_gateway(loop, functions, template.routes, headers),
                _PROCESS: _through_process(loop, functions, headers),
                _HANDLER: _by_handler(headers),
            }
            use_cases = _UseCases(headers)
            for number in range(-_WARM_UP, cycles):
                for way, send in ways.items():
                    times.note(number, way, _cycle(send))
                times.note_use_cases(number, use_cases.cycle())
        finally:
            loop.run_until_complete(functions.close())
            volume.close()
    return times.medians()


def _commits(served: Emulator, cycles: int) -> dict[str, float]:
    """Medians of the commits of each call."""
    use_cases = _UseCases(_Headers(served))
    times = _Times()
    for number in range(-_WARM_UP, cycles):
        times.note_use_cases(number, use_cases.cycle())
    return {name: medians[_COMMIT] for name, medians in times.medians().items()}


class _Times:
    """Milliseconds by call and way; those of the first, negative cycles don't count."""

    def __init__(self) -> None:
        self._noted: dict[str, list[list[float]]] = defaultdict(lambda: [[] for _ in _LAYERS])

    def note(self, number: int, way: int, seen: list[tuple[str, float]]) -> None:
        for name, milliseconds in seen:
            if number >= 0:
                self._noted[name][way].append(milliseconds)

    def note_use_cases(self, number: int, seen: list[tuple[str, float, float]]) -> None:
        for name, *values in seen:
            for way, value in zip((_USE_CASE, _COMMIT), values, strict=True):
                self.note(number, way, [(name, value)])

    def medians(self) -> dict[str, list[float]]:
        return {name: [statistics.median(each or [0.0]) for each in ways] for name, ways in self._noted.items()}


def _cycle(send: _Way) -> list[tuple[str, float]]:
    answer_to = {}
    seen = []
    for name in (*_CYCLE, _HEALTH):
        milliseconds, answer = send(_call(name, answer_to))
        seen.append((name, milliseconds))
        if name == "claim":
            [job] = answer["items"]
            answer_to = {"job_id": job["id"], "lease_token": job["lease_token"], "result": RESULT}
    return seen


def _call(name: str, answer_to: Any) -> _Call:
    return {
        "submit": _Call(name, "client", "POST", "/v1/client/jobs", "", JOB),
        "claim": _Call(name, "miner", "GET", "/v1/miner/jobs", "limit=1", None),
        "result": _Call(name, "miner", "POST", "/v1/miner/result", "", answer_to),
        _HEALTH: _Call(name, "public", "GET", "/health", "", None),
    }[name]


class _Headers:
    """What clients and the one miner send; the miner registers first."""

    def __init__(self, served: Emulator) -> None:
        by_key = Connection(served.port, {"X-Api-Key": served.keys["miner"]})
        body = {"address": "breakdown", "capabilities": ["llm_inference"]}
        _, self.miner = by_key.call("register", "POST", "/v1/miner/register", body)
        self.of = {
            "client": {"X-Api-Key": served.keys["client"]},
            "miner": {"X-Api-Key": served.keys["miner"], "X-Miner-Id": self.miner["id"]},
            "public": {},
        }

    def request(self, call: _Call) -> Any:
        from local.events import Request

        fields = {"Host": "127.0.0.1", "Content-Type": "application/json", **self.of[call.function]}
        return Request(
            method=call.method,
            path=call.path,
            query=call.query,
            headers=[(name.lower().encode(), value.encode()) for name, value in fields.items()],
            body=b"" if call.body is None else json.dumps(call.body).encode(),
            source_ip="127.0.0.1",
            host="127.0.0.1",
            port=80,
            protocol="HTTP/1.1",
        )

    def event(self, call: _Call) -> dict[str, Any]:
        from local.events import to_event

        return to_event(self.request(call), str(uuid4()), "$default", {})


def _over_http(port: int, headers: _Headers) -> _Way:
    connections = {function: Connection(port, fields) for function, fields in headers.of.items()}

    def send(call: _Call) -> tuple[float, Any]:
        connection = connections[call.function]
        path = f"{call.path}?{call.query}" if call.query else call.path
        _, answer = connection.call(call.name, call.method, path, call.body)
        return connection.milliseconds[call.name][-1], answer

    return send


def _through_gateway(loop: asyncio.AbstractEventLoop, functions: Any, routes: Any, headers: _Headers) -> _Way:
    from local.gateway import Gateway

    gateway = Gateway(functions, routes, lambda *_: None, lambda *_: None)

    async def go(request: Any) -> tuple[float, Any]:
        sent: list[Any] = []
        scope = {
            "type": "http",
            "method": request.method,
            "path": request.path,
            "query_string": request.query.encode(),
            "headers": request.headers,
            "server": (request.host, request.port),
            "client": (request.source_ip, 1),
            "http_version": "1.1",
        }

        async def receive() -> Any:
            return {"type": "http.request", "body": request.body}

        async def send_on(message: Any) -> None:
            sent.append(message)

        began = time.perf_counter()
        await gateway(scope, receive, send_on)
        return _since(began), json.loads(sent[1]["body"])

    return lambda call: loop.run_until_complete(go(headers.request(call)))


def _through_process(loop: asyncio.AbstractEventLoop, functions: Any, headers: _Headers) -> _Way:
    async def go(call: _Call, event: dict[str, Any]) -> tuple[float, Any]:
        began = time.perf_counter()
        invocation = await functions.invoke(f"{call.function.capitalize()}Function", event)
        return _since(began), json.loads(invocation.result["body"])

    return lambda call: loop.run_until_complete(go(call, headers.event(call)))


def _by_handler(headers: _Headers) -> _Way:
    import client.app
    import miner.app
    import public.app
    from coordinator.core.log import logger

    # Its lines are a part of what it takes, and nobody is to read them here.
    nowhere = Path(os.devnull).open("w")  # noqa: SIM115  (for as long as this process lasts)
    for output in logger.handlers:
        output.setStream(nowhere)
    handlers = {"client": client.app.handler, "miner": miner.app.handler, "public": public.app.handler}

    def send(call: _Call) -> tuple[float, Any]:
        event = headers.event(call)
        began = time.perf_counter()
        answer = handlers[call.function](event, None)
        return _since(began), json.loads(answer["body"])

    return send


class _UseCases:
    """The same calls without anything of HTTP, and what of their time their commits take."""

    def __init__(self, headers: _Headers) -> None:
        from coordinator.core.database import database
        from coordinator.users.keys import Role, authenticate
        from tests.bench.clockwork import SqlClock

        self._miner_id = headers.miner["id"]
        self._client = authenticate(headers.of["client"]["X-Api-Key"], Role.CLIENT).id
        self._owner = authenticate(headers.of["miner"]["X-Api-Key"], Role.MINER).id
        self._database = database()
        self._sql = SqlClock(self._database.engine)

    def cycle(self) -> list[tuple[str, float, float]]:
        from coordinator.jobs import queue, results, service
        from coordinator.jobs.lease_schemas import ResultCreate
        from coordinator.jobs.schemas import JobCreate

        body = JobCreate.model_validate(JOB)
        write = self._database.write
        submit, _ = self._timed("submit", lambda: write(lambda tx: service.submit(tx, self._client, body)).read())
        claim, polled = self._timed("claim", lambda: queue.claim(self._owner, self._miner_id, 1))
        [job] = polled.items
        answer = ResultCreate(job_id=job.id, lease_token=job.lease_token, result=RESULT)
        result, _ = self._timed(
            "result", lambda: write(lambda tx: results.answer(tx, self._owner, self._miner_id, answer))
        )
        return [submit, claim, result]

    def _timed(self, name: str, call: Callable[[], Any]) -> tuple[tuple[str, float, float], Any]:
        self._sql.reset()
        began = time.perf_counter()
        outcome = call()
        return (name, _since(began), sum(self._sql.commits)), outcome


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1000


def _layers(medians: list[float], durable_commit: float) -> dict[str, float]:
    """Milliseconds of each layer, from the medians of the ways."""
    http, gateway, process, handler, use_case, commit = medians
    taken = (
        http - gateway,
        gateway - process,
        process - handler,
        handler - use_case,
        use_case - commit,
        durable_commit,
    )
    return dict(zip(_LAYERS.values(), taken, strict=True))


def _show(kind: str, size: Size, figures: dict[str, Any]) -> None:
    cycle = {layer: sum(figures[name][layer] for name in _CYCLE) for layer in _LAYERS.values()}
    whole = sum(cycle.values())
    columns = [*(figures[name] for name in _CYCLE), cycle, figures[_HEALTH]]
    rows = [
        (layer, *(f"{column[layer]:.2f}" for column in columns), f"{100 * cycle[layer] / whole:.0f} %")
        for layer in _LAYERS.values()
    ]
    rows.append(("all", *(f"{sum(column.values()):.2f}" for column in columns), "100 %"))
    show(
        f"breakdown, {kind}: milliseconds of one client and one miner in turn, medians of {size.jobs}",
        ("layer", *_CYCLE, "cycle", "GET /health", "of the cycle"),
        rows,
    )
