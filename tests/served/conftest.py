"""The whole API under the emulator, as `make run` serves it, for callers that know nothing but the document."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.emulator.process import ROOT, Emulator
from tests.exchange import VARIABLES as EXCHANGE


@dataclass
class Served:
    emulator: Emulator
    # The development keys by role.
    keys: dict[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.emulator.port}"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    emulator = Emulator(
        tmp_path_factory.mktemp("served"),
        *("--template", str(ROOT / "template.yaml"), "--no-reload", "--quiet", "--max-environments", "4"),
        **{f"RATE_LIMIT_{group}": "0" for group in ("CLIENT", "MINER", "USER")},
        # Longer than any test, so that the miners of tests need no heartbeats.
        LEASE_SECONDS="3600",
        HEARTBEAT_TIMEOUT_SECONDS="3600",
        CORS_ALLOW_ORIGINS="https://app.example,http://localhost:3000",
        # Nobody pays, but addresses are given out.
        **EXCHANGE,
    )
    yield Served(emulator, json.loads((emulator.volume / "keys.json").read_text()))
    emulator.stop()
