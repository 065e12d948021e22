from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.miner.process import MinerProcess
from tests.miner.servers import Coordinator, ModelServer

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
