"""A miner as a process."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


class MinerProcess:
    """`python -m local.miner` as a process, or another program in its place."""

    def __init__(self, *arguments: str, program: Sequence[str] = ("-m", "local.miner")) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", *program, *arguments],
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
