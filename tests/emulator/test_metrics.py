"""Counters over many processes that are killed, with the real functions."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from math import inf
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.emulator.process import ROOT, Emulator

LATEST_SECONDS = 5
CALLS = [("GET", "/health"), ("GET", "/v1/client/jobs"), ("POST", "/v1/client/jobs"), ("GET", "/v1/miner/me")]


@pytest.fixture
def emulator(tmp_path: Path, database_url: str) -> Iterator[Emulator]:
    arguments = ("--template", str(ROOT / "template.yaml"), "--no-reload", "--quiet", "--max-environments", "4")
    limits_off = {f"RATE_LIMIT_{group}": "0" for group in ("CLIENT", "MINER", "USER")}
    emulator = Emulator(tmp_path, *arguments, DATABASE_URL=database_url, **limits_off)
    yield emulator
    emulator.stop()


class Load:
    """Calls that were answered by a function, with their time; and the number of those that died with one."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        keys = json.loads((emulator.volume / "keys.json").read_text())
        self._headers = {group: {"X-Api-Key": keys[group]} for group in ("client", "miner")}
        self.answered: list[tuple[float, str]] = []
        self.died = 0

    def call(self, number: int) -> None:
        method, path = CALLS[number % len(CALLS)]
        body = b'{"job_type": "custom"}' if method == "POST" else None
        group = group_of(path)
        if self._emulator.call(method, path, body, self._headers.get(group)).status == 502:
            self.died += 1
        else:
            self.answered.append((time.monotonic(), group))

    def run(self, count: int, meanwhile: Callable[[], None] = lambda: None) -> None:
        with ThreadPoolExecutor(8) as pool:
            running = [pool.submit(self.call, number) for number in range(count)]
            while not all(each.done() for each in running):
                meanwhile()
        for each in running:
            each.result()

    def count(self, group: str, since: float = 0, before: float = inf) -> int:
        return sum(since <= at < before and group == of for at, of in self.answered)


def group_of(path: str) -> str:
    return path.split("/")[2] if path.startswith("/v1/") else "public"


def scrape(emulator: Emulator) -> dict[str, float]:
    """The counters of all requests but the scrapes; empty if a killed process was asked."""
    answer = emulator.call("GET", "/metrics")
    if answer.status == 502:
        return {}
    assert answer.status == 200
    return {
        f"{sample.name} {sample.labels}": sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
        if family.type in ("counter", "histogram") and sample.labels.get("route") != "/metrics"
    }


def requests(seen: dict[str, float], group: str = "") -> float:
    return sum(value for name, value in seen.items() if name.startswith("api_requests_total") and group in name)


def kill_one(emulator: Emulator, function: str) -> bool:
    """Kills -9 any process of a function; tells whether there was one."""
    for pid in emulator.children():
        # One that has just ended has no variables any more.
        with suppress(OSError):
            if f"AWS_LAMBDA_FUNCTION_NAME={function}\0" in Path(f"/proc/{pid}/environ").read_text():
                os.kill(pid, signal.SIGKILL)
                return True
    return False


def test_what_is_written_outlives_all_processes(emulator: Emulator) -> None:
    load = Load(emulator)
    load.run(200)
    time.sleep(LATEST_SECONDS)
    before = scrape(emulator)
    assert requests(before) == len(load.answered) == 200

    for pid in emulator.children():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    while not (after := scrape(emulator)):
        pass

    assert {name: value for name, value in after.items() if name in before} == before


def test_sums_never_go_back_nor_fall_behind_while_processes_are_killed(emulator: Emulator) -> None:
    load = Load(emulator)
    seen: list[dict[str, float]] = []
    late: list[str] = []
    kills: list[float] = []

    def disturb() -> None:
        asked = time.monotonic()
        if found := scrape(emulator):
            seen.append(found)
            late.extend(
                f"{group} at {asked}"
                for group in ("client", "public")
                if requests(found, group) < load.count(group, before=asked - LATEST_SECONDS)
            )
        if len(kills) < 10 and kill_one(emulator, "MinerFunction"):
            kills.append(time.monotonic())
        time.sleep(0.1)

    load.run(1000, disturb)
    time.sleep(LATEST_SECONDS)
    total = scrape(emulator)

    assert kills
    assert late == []
    for earlier, later in zip(seen, [*seen[1:], total], strict=True):
        assert [name for name, value in earlier.items() if later.get(name, 0) < value] == []
    assert requests(total, "client") == load.count("client")
    assert requests(total, "public") == load.count("public")
    # A process that is killed takes along what it answered in the seconds before.
    kept = load.count("miner") - load.count("miner", kills[0] - LATEST_SECONDS, kills[-1])
    assert kept <= requests(total, "miner") <= load.count("miner") + load.died
