"""What counting each request for the rate limits adds to a warm request over HTTP."""

from typing import Any

from tests.bench.databases import Databases
from tests.bench.emulator import Emulator, emulator
from tests.bench.http import Connection
from tests.bench.load import JOB
from tests.bench.report import percentile, say, show
from tests.bench.size import Size

FULL = Size(rounds=3000)
TINY = Size(rounds=50)

_WARM_UP = 50
_WANTED_RATIO = 1.1
# Never reached, but counted.
_LIMITS = {f"RATE_LIMIT_{group}": "1000000" for group in ("CLIENT", "MINER", "USER")}
_OFF, _ON = "off", "on"


class _Caller:
    """One miner and one client of one emulator."""

    def __init__(self, served: Emulator) -> None:
        self._miner = Connection(served.port, {"X-Api-Key": served.keys["miner"]})
        self._client = Connection(served.port, {"X-Api-Key": served.keys["client"]})
        body = {"address": "limits", "capabilities": ["llm_inference"]}
        self._miner.call("register", "POST", "/v1/miner/register", body)

    def call(self) -> list[int]:
        return [
            self._miner.call("GET /v1/miner/me", "GET", "/v1/miner/me")[0],
            self._client.call("POST /v1/client/jobs", "POST", "/v1/client/jobs", JOB)[0],
        ]

    def milliseconds(self) -> dict[str, list[float]]:
        seen = {**self._miner.milliseconds, **self._client.milliseconds}
        return {name: each[_WARM_UP:] for name, each in seen.items() if name != "register"}


def run(size: Size, databases: Databases) -> tuple[dict[str, Any], list[str]]:
    """The figures, and what went wrong."""
    figures: dict[str, Any] = {}
    failures: list[str] = []
    for kind in databases.kinds:
        say(f"limits, {kind}: {size.rounds} calls of each")
        with (
            databases.fresh(kind) as url,
            databases.fresh(kind) as other_url,
            emulator(url) as without,
            emulator(other_url, **_LIMITS) as counting,
        ):
            callers = {_OFF: _Caller(without), _ON: _Caller(counting)}
            for _ in range(_WARM_UP + (size.rounds or 0)):
                # In turn, so that both meet the machine in the same mood.
                for which, caller in callers.items():
                    failures += [f"{kind}, {which}: {status}" for status in caller.call() if status not in (200, 201)]
        seen = {which: caller.milliseconds() for which, caller in callers.items()}
        figures[kind] = {
            name: {which: percentile(each[name], 50) for which, each in seen.items()} for name in seen[_OFF]
        }
        for each in figures[kind].values():
            each["ratio"] = each[_ON] / each[_OFF]
        show(
            f"limits, {kind}: milliseconds over HTTP, p50 of {size.rounds} calls, limits off and on in turn",
            ("call", _OFF, _ON, f"ratio (limit {_WANTED_RATIO})"),
            [(name, f"{e[_OFF]:.2f}", f"{e[_ON]:.2f}", f"{e['ratio']:.3f}") for name, e in figures[kind].items()],
        )
    return figures, failures[:3]
