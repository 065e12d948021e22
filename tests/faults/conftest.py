import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.market import Market

OpenMarket = Callable[[str | None], Market]


@pytest.fixture
def seed() -> int:
    """Of all dice that a test throws, shown when it fails; FAULTS_SEED=... throws them once more."""
    seed = int(os.environ.get("FAULTS_SEED") or random.SystemRandom().randrange(2**32))
    print(f"FAULTS_SEED={seed}")
    return seed


@pytest.fixture
def open_market(tmp_path: Path, seed: int) -> Iterator[OpenMarket]:
    """Opens a market on this database, or on SQLite on the emulator's volume; closes it after the test."""
    with ExitStack() as closing:

        def begin(database_url: str | None) -> Market:
            market = Market(tmp_path, seed, database_url)
            closing.callback(lambda: print(market.emulator.output[-20_000:]))
            closing.callback(market.close)
            return market

        yield begin


@pytest.fixture
def market(open_market: OpenMarket, database_url: str) -> Market:
    return open_market(database_url)
