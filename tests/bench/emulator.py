"""A real emulator to send requests to."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_READY_SECONDS = 30
_STOPPED_SECONDS = 10

# What the benches' own processes and the emulator's must agree on.
SECRET_KEY = "bench-secret-0123456789-abcdefghijklmnop"
VARIABLES = {
    "SECRET_KEY": SECRET_KEY,
    # A bench's own process prints figures, and no line for each call.
    "POWERTOOLS_LOG_LEVEL": "WARNING",
    **{f"RATE_LIMIT_{group}": "0" for group in ("CLIENT", "MINER", "USER")},
}


class Emulator(NamedTuple):
    pid: int
    port: int
    keys: dict[str, str]


def variables(database_url: str) -> dict[str, str]:
    """The environment of a process that uses the shared layer on this database."""
    return {**VARIABLES, "DATABASE_URL": database_url}


@contextlib.contextmanager
def emulator(database_url: str, **more: str) -> Iterator[Emulator]:
    with tempfile.TemporaryDirectory(prefix="bench-volume-") as name, socket.socket() as free:
        volume = Path(name)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        with (volume / "log").open("wb") as log:
            command = (sys.executable, "-m", "local", "--port", str(port), "--volume", name, "--no-reload", "--quiet")
            process = subprocess.Popen(
                command,
                env={**os.environ, **variables(database_url), **more},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        try:
            _wait_until_ready(process, port, volume / "log")
            yield Emulator(process.pid, port, json.loads((volume / "keys.json").read_text()))
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(_STOPPED_SECONDS)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + _READY_SECONDS
    while True:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5).close()
            return
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"the emulator is not ready:\n{log.read_text()}")
        time.sleep(0.05)
