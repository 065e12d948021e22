"""What the emulator prints: one line a request, and the functions' logs made readable."""

import asyncio
import json
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local.events import Request
from local.options import VOLUME

_LEVELS = frozenset({"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"})
# What every line of Powertools' Logger has and nobody needs to read here.
_NOISE = frozenset(
    {"level", "message", "timestamp", "service", "location", "exception", "exception_name", "function_name"}
    | {"function_memory_size", "function_arn", "function_request_id", "cold_start", "xray_trace_id", "stack_trace"}
)


# What a function's own line about a request says, and the line of the gateway says too.
_KNOWN = _NOISE | {"request_id", "group", "method", "route", "status", "duration_ms"}
# The two lines of a request come by different ways.
_PATIENCE_SECONDS = 0.1
_MOST_KEPT = 1000


class Log:
    """Prints one line for each request: what the gateway knows of it, then what its function has said of it."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        # By request id: lines that wait for what the function says, and what was said before its line came.
        self._waiting: dict[str, str] = {}
        self._said: dict[str, str] = {}

    def request(
        self, request: Request, status: int, function: str, seconds: float, start: str, request_id: str
    ) -> None:
        if self._quiet:
            return
        path = request.path if request.path.isprintable() else ascii(request.path)[1:-1]
        line = f"{request.method} {path} {status} {function} {seconds * 1000:.1f} ms {start} {request_id}"
        self._give_up(request_id)
        if request_id in self._said or start == "-":
            _write(line + self._said.pop(request_id, ""))
        else:
            self._waiting[request_id] = line
            asyncio.get_running_loop().call_later(_PATIENCE_SECONDS, self._give_up, request_id)

    def output(self, function: str, line: str) -> None:
        """Prints a line that a function has written; Powertools' JSON becomes text."""
        record = _record(line)
        if record is None:
            _write(f"{function}: {line}")
        elif record["message"] == "request" and isinstance(record.get("request_id"), str):
            self._add(record["request_id"], _fields(record, _KNOWN))
        else:
            _write(f"{function}: {record['level']} {record['message']}{_fields(record, _NOISE)}")
            if record.get("exception"):
                print(record["exception"], flush=True)

    def close(self) -> None:
        for request_id in list(self._waiting):
            self._give_up(request_id)

    def _add(self, request_id: str, said: str) -> None:
        if self._quiet:
            return
        if request_id in self._waiting:
            _write(self._waiting.pop(request_id) + said)
            return
        # A function that is killed after it has spoken leaves what nobody asks for.
        if len(self._said) >= _MOST_KEPT:
            self._said.clear()
        self._said[request_id] = said

    def _give_up(self, request_id: str) -> None:
        if request_id in self._waiting:
            _write(self._waiting.pop(request_id))


def log_failure(function: str, message: str) -> None:
    _write(f"{function}: {message}")


def log(message: str) -> None:
    _write(message)


def error(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


_FAUCET = """
Bitcoin is paid on a regtest node of your own. Pay an address (in satoshis, or as in 0.0015BTC) and mine:
  {make} faucet ADDRESS=bcrt1... AMOUNT=150000 BLOCKS=2
"""


def banner(url: str, volume: str, keys: Mapping[str, str], *, regtest: bool = False) -> None:
    # The faucet looks for the node on the volume, and can't know of one that was given to this process alone.
    make = "make" if Path(volume) == VOLUME.absolute() else f"LOCAL_VOLUME={shlex.quote(volume)} make"
    print(
        f"""
AITBC coordinator, served locally
  API     {url}
  docs    {url}/docs  (and {url}/redoc)
  volume  {volume}

Development keys (X-Api-Key), kept in {volume}/keys.json
  client  {keys["client"]}
  miner   {keys["miner"]}
  admin   {keys["admin"]}

Submit a first job:
  curl -X POST {url}/api/v1/client/jobs -H "X-Api-Key: {keys["client"]}" \\
    -H "Content-Type: application/json" \\
    -d '{{"job_type": "llm_inference", "parameters": {{"prompt": "The capital of France is"}}}}'

Start a miner that answers it with an OpenAI-compatible server (Ollama, vLLM, llama.cpp):
  {sys.executable} -m local.miner --url {url} --api-key {keys["miner"]} \\
    --capability llm_inference --backend http://127.0.0.1:11434
{_FAUCET.format(make=make) if regtest else ""}
Ctrl-C stops everything.
""",
        flush=True,
    )


def _record(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    if not isinstance(record, dict) or record.get("level") not in _LEVELS or "message" not in record:
        return None
    return record


def _fields(record: Mapping[str, Any], known: frozenset[str]) -> str:
    return "".join(f" {name}={value}" for name, value in record.items() if name not in known)


def _write(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
