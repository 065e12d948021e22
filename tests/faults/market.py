"""A market in full swing: the emulator with the real functions, clients and miners that keep it busy."""

import json
import os
import random
import re
import shlex
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import NullPool, create_engine, text

from tests.emulator.process import ROOT, Emulator
from tests.faults.client import Client
from tests.miner.process import MinerProcess

_SHORT_LEASES = {"LEASE_SECONDS": "2", "HEARTBEAT_INTERVAL_SECONDS": "1", "HEARTBEAT_TIMEOUT_SECONDS": "4"}
_LIMITS_OFF = {f"RATE_LIMIT_{group}": "0" for group in ("CLIENT", "MINER", "USER")}
# For every wait: far above what recovery takes, which is a lease or a silent miner's time.
_PATIENCE_SECONDS = 40
_BUSY_FUNCTIONS = ("ClientFunction", "MinerFunction")


class Market:
    def __init__(self, folder: Path, seed: int, database_url: str | None = None) -> None:
        """Opens it on this database; without one, on SQLite on the emulator's volume."""
        self.seed = seed
        self.random = random.Random(seed)
        self._folder = folder
        self._notes = folder / "notes"
        self._notes.mkdir()
        self._variables = {**_SHORT_LEASES, **_LIMITS_OFF}
        if database_url is not None:
            self._variables["DATABASE_URL"] = database_url
        self.emulator = self._emulator()
        self.volume = self.emulator.volume
        self.keys: dict[str, str] = json.loads((self.volume / "keys.json").read_text())
        self.clients: list[Client] = []
        self.miners: dict[str, MinerProcess] = {}
        self._miner_starts: dict[str, Callable[[], MinerProcess]] = {}
        url = database_url or f"sqlite:///{self.volume / 'coordinator.db'}"
        self._engine = create_engine(url, poolclass=NullPool)

    def close(self) -> None:
        for client in self.clients:
            client.stop()
        for miner in self.miners.values():
            miner.stop()
        self.emulator.stop()
        for client in self.clients:
            client.join()
        self._engine.dispose()

    # What there is in it.

    def open_to(self, clients: int, miners: int, parameters_size: int = 0) -> None:
        for number in range(miners):
            concurrency = 1 + number % 3
            self._add_miner(f"miner-{number}", ("-m", "tests.faults.miner"), self._noting_arguments, concurrency)
        for number in range(clients):
            port, key = self.emulator.port, self.keys["client"]
            self.clients.append(Client(port, key, f"client-{number}", self.seed, parameters_size=parameters_size))

    def add_reference_miner(
        self, name: str, program: Sequence[str] = ("-m", "local.miner"), work_seconds: float = 0
    ) -> None:
        """Adds one whose command notes each job and gives it back as the result."""
        self._add_miner(name, program, self._reference_arguments, work_seconds)

    def kill_miner(self) -> str:
        """Kills -9 any one of them; gives its name."""
        name = self.random.choice(sorted(self.miners))
        self.miners.pop(name).stop()
        return name

    def start_miner(self, name: str) -> None:
        """Starts one that was killed, with the same identity."""
        self.miners[name] = self._miner_starts[name]()

    def restart_emulator(self) -> None:
        """Kills it -9 and starts it anew on the same port and volume."""
        self.emulator.stop(signal.SIGKILL)
        self.emulator = self._emulator(self.emulator.port)

    def kill_an_environment(self) -> bool:
        """Kills -9 any one of them; tells whether it was still there."""
        pid = self.random.choice(self.emulator.children())
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    # What happens in it.

    def warm_up(self) -> None:
        """Waits until the load is on, and keeps several environments of both functions busy."""
        self.wait(lambda: all(client.rounds for client in self.clients))
        self.wait(lambda: all(self._environments()[function] >= 4 for function in _BUSY_FUNCTIONS))

    def go_on(self) -> None:
        """Waits until every client has jobs acknowledged and finished that it submits from now on."""
        before = [client.rounds for client in self.clients]
        self.wait(lambda: all(c.rounds >= n + 2 for c, n in zip(self.clients, before, strict=True)))

    def fail(self) -> None:
        """Waits until calls have failed some more times."""
        before = self.troubles().total()
        self.wait(lambda: self.troubles().total() >= before + 30)

    def settle(self) -> None:
        """Ends the load, and waits until what it has left behind is finished."""
        for client in self.clients:
            client.stop()
        self.wait(lambda: not any(client.alive for client in self.clients))
        self.wait(lambda: not self.rows("SELECT id FROM jobs WHERE status IN ('pending', 'running') LIMIT 1"))

    def rows(self, query: str) -> list[dict[str, Any]]:
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(text(query)).mappings()]

    # What was seen in it.

    def notes(self) -> list[dict[str, Any]]:
        """All that the miners have noted, each with the name of its miner."""
        return [
            {"by": path.stem, **note}
            for path in sorted(self._notes.iterdir())
            for note in map(_whole, path.read_text().splitlines())
            if note is not None
        ]

    def troubles(self) -> Counter[str]:
        """How often a call of anyone brought no answer or an error of the server, by kind."""
        noted = Counter(note["what"] for note in self.notes() if note.get("event") == "trouble")
        return sum((client.troubles for client in self.clients), noted)

    def _emulator(self, port: int = 0) -> Emulator:
        template = str(ROOT / "template.yaml")
        arguments = ("--template", template, "--no-reload", "--quiet", "--max-environments", "5")
        return Emulator(self._folder, *arguments, port=port, **self._variables)

    def _environments(self) -> Counter[str]:
        """How many execution environments each function has."""
        functions: Counter[str] = Counter()
        for pid in self.emulator.children():
            # One that has just ended has no variables any more.
            with suppress(OSError):
                variables = Path(f"/proc/{pid}/environ").read_text()
                functions.update(
                    re.findall(r"^AWS_LAMBDA_FUNCTION_NAME=(.*)$", variables.replace("\0", "\n"), re.MULTILINE)
                )
        return functions

    def _add_miner(
        self, name: str, program: Sequence[str], arguments: Callable[[str, Any], Sequence[str]], option: Any
    ) -> None:
        self._miner_starts[name] = lambda: MinerProcess(*arguments(name, option), program=program)
        self.start_miner(name)

    def _noting_arguments(self, name: str, concurrency: int) -> Sequence[str]:
        notes = self._notes / f"{name}.jsonl"
        # Each start of a miner is another throw of the dice.
        seed = f"{self.seed} {self.random.random()}"
        return (str(self.emulator.port), self.keys["miner"], name, seed, str(concurrency), str(notes))

    def _reference_arguments(self, name: str, work_seconds: float) -> Sequence[str]:
        notes = shlex.quote(str(self._notes / f"{name}.jsonl"))
        work = f"sleep {work_seconds} && job=$(cat) && printf '%s\\n' \"$job\" | tee -a {notes}"
        command = shlex.join(("sh", "-c", work))
        return (
            *("--url", f"http://127.0.0.1:{self.emulator.port}", "--api-key", self.keys["miner"], "--name", name),
            *("--identity", str(self._folder / f"{name}.pem"), "--capability", "custom", "--command", command),
            *("--concurrency", "4"),
        )

    def wait(self, condition: Callable[[], Any]) -> None:
        until = time.monotonic() + _PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < until, f"no end after {_PATIENCE_SECONDS} s: {self.troubles()}"
            time.sleep(0.1)


def _whole(line: str) -> dict[str, Any] | None:
    """A note; None for one that was torn by the end of its miner, or is just being written."""
    try:
        note: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return note
