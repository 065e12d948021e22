"""What a thousand miners cost that have nothing to do but ask and send heartbeats."""

import asyncio
import json
import os
import random
import resource
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

from tests.bench.databases import Databases
from tests.bench.emulator import Emulator, emulator
from tests.bench.report import percentiles, say, show
from tests.bench.size import Size

FULL = Size(miners=1000, seconds=60.0)
TINY = Size(miners=40, seconds=3.0)

# What all idle miners together are to stay under.
_POLLS_PER_SECOND = 50
_SPARE_FILES = 1000
# Registrations that are under way at once.
_AT_ONCE = 8
# For a part of the time that is measured the miners are left to themselves, until they ask as seldom as they are told.
_SETTLING_SHARE = 0.5


@dataclass
class _Seen:
    """What the miners have done since it was last emptied."""

    calls: Counter[str] = field(default_factory=Counter)
    milliseconds: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)


class _Moment(NamedTuple):
    time: float
    machine_busy: float
    machine_all: float
    generator: float
    emulator: float


def run(size: Size, databases: Databases) -> tuple[dict[str, Any], list[str]]:
    """The figures, and what went wrong."""
    _allow_open_files(2 * size.miners + _SPARE_FILES)
    figures = {}
    # Once is enough: most of what it costs is not the database.
    for kind in databases.kinds[:1]:
        with databases.fresh(kind) as url, emulator(url) as served:
            figures[kind] = uvloop.run(_measure(kind, served, size))
    show(
        f"idle: {size.miners} idle miners for {size.seconds:g} s",
        ("", *figures),
        [
            (what, *(form.format(each[name]) for each in figures.values()))
            for what, name, form in (
                (f"polls (limit {_POLLS_PER_SECOND})", "polls_per_second", "{:.1f} /s"),
                ("heartbeats", "heartbeats_per_second", "{:.1f} /s"),
                ("new connections", "connections_per_second", "{:.1f} /s"),
                ("CPU of the machine (limit 50 %)", "machine_cpu_percent", "{:.1f} %"),
                ("  of it the emulator and its functions", "emulator_cpu_percent", "{:.1f} %"),
                ("  of it the load generator", "generator_cpu_percent", "{:.1f} %"),
                ("latency, median", "p50", "{:.1f} ms"),
                ("latency, p99", "p99", "{:.1f} ms"),
                ("errors", "errors", "{}"),
            )
        ],
        note=f"100 % is all of {os.cpu_count()} CPUs, from /proc/stat: whatever else the machine does is in it.",
    )
    return figures, [f"{kind}: {what}" for kind, each in figures.items() for what in each.pop("failures")]


async def _measure(kind: str, served: Emulator, size: Size) -> dict[str, Any]:
    say(f"idle, {kind}: registering {size.miners} miners")
    seen = _Seen()
    gate = asyncio.Semaphore(_AT_ONCE)
    registered: asyncio.Queue[None] = asyncio.Queue()
    miners = [asyncio.create_task(_idle(number, served, seen, gate, registered)) for number in range(size.miners)]
    for _ in miners:
        await registered.get()
    settling = _SETTLING_SHARE * size.seconds
    say(f"idle, {kind}: settling for {settling:.0f} s, then measuring for {size.seconds:g} s")
    await asyncio.sleep(settling)
    seen.calls.clear()
    seen.milliseconds.clear()
    began = _moment(served.pid)
    await asyncio.sleep(size.seconds)
    ended = _moment(served.pid)
    calls, milliseconds = Counter(seen.calls), list(seen.milliseconds)
    for task in miners:
        task.cancel()
    stopped = await asyncio.gather(*miners, return_exceptions=True)
    failures = [f"a miner gave up: {each!r}" for each in stopped if not isinstance(each, asyncio.CancelledError)]
    seconds = ended.time - began.time
    cpu_seconds = seconds * (os.cpu_count() or 1)
    return {
        "polls_per_second": calls["poll"] / seconds,
        "heartbeats_per_second": calls["heartbeat"] / seconds,
        "connections_per_second": calls["connect"] / seconds,
        "machine_cpu_percent": 100
        * (ended.machine_busy - began.machine_busy)
        / (ended.machine_all - began.machine_all),
        "emulator_cpu_percent": 100 * (ended.emulator - began.emulator) / cpu_seconds,
        "generator_cpu_percent": 100 * (ended.generator - began.generator) / cpu_seconds,
        **percentiles(milliseconds or [0.0]),
        "errors": sum(seen.errors.values()),
        "failures": [*failures[:3], *(f"{count} times {what}" for what, count in seen.errors.most_common(3))],
    }


async def _idle(
    number: int, served: Emulator, seen: _Seen, gate: asyncio.Semaphore, registered: asyncio.Queue[None]
) -> None:
    """One miner: asks when it was told to ask, sends heartbeats as often as it was told."""
    miner = _Miner(served, seen)
    async with gate:
        me = await miner.call(
            "register", "POST", "/v1/miner/register", {"address": f"idle-{number}", "capabilities": ["llm_inference"]}
        )
        registered.put_nowait(None)
    miner.headers += f"X-Miner-Id: {me['id']}\r\n"
    interval = me["heartbeat_interval_seconds"]
    heartbeat_at = time.monotonic() + interval * random.random()
    while True:
        answer = await miner.call("poll", "GET", "/v1/miner/jobs")
        ask_at = time.monotonic() + answer["poll_after_seconds"]
        while heartbeat_at < ask_at:
            await asyncio.sleep(heartbeat_at - time.monotonic())
            heartbeat_at += interval
            await miner.call("heartbeat", "POST", "/v1/miner/heartbeat", {"inflight": 0})
        await asyncio.sleep(ask_at - time.monotonic())


class _Miner:
    """A miner's connection, opened again when the server has closed it in the meantime."""

    def __init__(self, served: Emulator, seen: _Seen) -> None:
        self._port = served.port
        self._seen = seen
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.headers = f"Host: 127.0.0.1\r\nX-Api-Key: {served.keys['miner']}\r\nContent-Type: application/json\r\n"

    async def call(self, name: str, method: str, path: str, body: Any = None) -> dict[str, Any]:
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\n{self.headers}Content-Length: {len(data)}\r\n\r\n"
        began = time.perf_counter()
        try:
            status, answer = await self._exchange(head.encode() + data)
        except (ConnectionError, asyncio.IncompleteReadError):
            # Closed just as this was sent.
            self._streams = None
            status, answer = await self._exchange(head.encode() + data)
        self._seen.milliseconds.append((time.perf_counter() - began) * 1000)
        self._seen.calls[name] += 1
        if status not in (200, 201):
            self._seen.errors[f"{name} {status} {answer.decode()[:200]}"] += 1
        read: dict[str, Any] = json.loads(answer)
        return read

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        if self._streams is None or self._streams[0].at_eof():
            if self._streams is not None:
                self._streams[1].close()
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            self._seen.calls["connect"] += 1
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r")[0])
        return int(head[9:12]), await reader.readexactly(length)


def _moment(pid: int) -> _Moment:
    user, nice, system, idle, iowait, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    busy = user + nice + system + irq + softirq + steal
    return _Moment(time.monotonic(), busy, busy + idle + iowait, time.process_time(), _cpu_seconds(pid))


def _cpu_seconds(pid: int) -> float:
    """What a process and all below it have used; what has ended counts with its parent."""
    used: dict[int, float] = {}
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        number = int(entry.parent.name)
        parents[number] = int(fields[1])
        used[number] = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def is_below(number: int) -> bool:
        while number > 1 and number != pid:
            number = parents.get(number, 0)
        return number == pid

    return sum(seconds for number, seconds in used.items() if is_below(number))


def _allow_open_files(count: int) -> None:
    """For this process and the emulator that it starts, as far as the machine allows."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if most == resource.RLIM_INFINITY else min(count, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(now, wanted), most))
