"""The emulator as a process, with functions of the test's own."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
_READY_SECONDS = 30

TEMPLATE = """\
Transform: AWS::Serverless-2016-10-31
Parameters:
  Greeting: {Type: String, Default: hello}
Globals:
  Function:
    Handler: one.app.handler
    CodeUri: functions/
    Timeout: 20
    Environment:
      Variables:
        GREETING: !Ref Greeting
        DATABASE_URL: ""
        SECRET_KEY: ""
        CLIENT_API_KEYS: ""
        CORS_ALLOW_ORIGINS: ""
Resources:
  One:
    Type: AWS::Serverless::Function
    Properties:
      Events:
        Greedy: {Type: HttpApi, Properties: {Path: "/one/{proxy+}", Method: ANY}}
        Exact: {Type: HttpApi, Properties: {Path: "/one/exact", Method: GET}}
        Everything: {Type: HttpApi, Properties: {Path: "/two/{id}/x", Method: ANY}}
"""

ECHO = """\
import json
def handler(event, context):
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(event)}
"""


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return str(self.json["error"]["code"])


def call(
    port: int, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


class Emulator:
    """Starts on a free port and waits until it listens, unless it ends before."""

    def __init__(self, folder: Path, *arguments: str, port: int = 0, **variables: str) -> None:
        self.folder = folder
        self.volume = folder / "volume"
        self.port = port
        self.log = folder / "emulator.log"
        clean = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
        with self.log.open("ab") as log:
            began = log.tell()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "local", "--port", str(port), "--volume", str(self.volume), *arguments],
                cwd=folder,
                env={**clean, "PYTHONPATH": str(ROOT), **variables},
                stdout=log,
                stderr=log,
            )
        try:
            self._wait(began)
        except BaseException:
            # Nobody else would: whoever made this has got nothing to stop.
            self.process.kill()
            self.process.wait()
            raise
        if self.process.poll() is None:
            line = next(line for line in self.output[began:].splitlines() if "  API  " in line)
            self.port = int(line.rsplit(":", 1)[1])

    def _wait(self, began: int) -> None:
        until = time.monotonic() + _READY_SECONDS
        while self.process.poll() is None and "Ctrl-C stops everything" not in self.output[began:]:
            assert time.monotonic() < until, self.output
            time.sleep(0.02)

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        return call(self.port, method, path, body, headers)

    def raw(self, data: bytes) -> bytes:
        """Sends bytes as they are and reads until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(data)
            received = b""
            while chunk := connection.recv(65_536):
                received += chunk
            return received

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(15)

    def children(self) -> list[int]:
        """Process ids of its execution environments."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in listed.split()]
