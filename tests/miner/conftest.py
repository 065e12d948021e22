import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.miner.servers import Coordinator, ModelServer

ROOT = Path(__file__).parents[2]


class MinerProcess:
    """`python -m local.miner` as a process."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "local.miner", *arguments],
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
        self.process.stdout.close()

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = 20) -> int:
        code = self.process.wait(seconds)
        self._reader.join()
        return code

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()


Start = Callable[..., MinerProcess]


@pytest.fixture
def coordinator() -> Iterator[Coordinator]:
    server = Coordinator()
    yield server
    server.close()


@pytest.fixture
def model() -> Iterator[ModelServer]:
    server = ModelServer()
    yield server
    server.close()


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "miner.pem"


@pytest.fixture
def start(coordinator: Coordinator, identity: Path) -> Iterator[Start]:
    """Starts miners of the scripted coordinator with one identity, and ends those that the test has not."""
    started: list[MinerProcess] = []

    def begin(*arguments: str) -> MinerProcess:
        named = ("--url", f"{coordinator.url}/base/", "--api-key", "the-secret-key", "--identity", str(identity))
        started.append(MinerProcess(*named, *arguments))
        return started[-1]

    yield begin
    for miner in started:
        miner.stop()
