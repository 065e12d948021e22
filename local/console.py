"""What the emulator prints: one line a request, and the functions' logs made readable."""

import json
import sys
import time
from collections.abc import Mapping
from typing import Any

from local.events import Request

_LEVELS = frozenset({"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"})
# What every line of Powertools' Logger has and nobody needs to read here.
_NOISE = frozenset(
    {"level", "message", "timestamp", "service", "location", "exception", "exception_name", "function_name"}
    | {"function_memory_size", "function_arn", "function_request_id", "cold_start", "xray_trace_id", "stack_trace"}
)


def log_request(request: Request, status: int, function: str, seconds: float, start: str, request_id: str) -> None:
    path = request.path if request.path.isprintable() else ascii(request.path)[1:-1]
    _write(f"{request.method} {path} {status} {function} {seconds * 1000:.1f} ms {start} {request_id}")


def log_failure(function: str, message: str) -> None:
    _write(f"{function}: {message}")


def log(message: str) -> None:
    _write(message)


def log_output(function: str, line: str) -> None:
    """Prints a line that a function has written; Powertools' JSON becomes text."""
    record = _record(line)
    if record is None:
        _write(f"{function}: {line}")
        return
    extra = "".join(f" {name}={value}" for name, value in record.items() if name not in _NOISE)
    _write(f"{function}: {record['level']} {record['message']}{extra}")
    if record.get("exception"):
        print(record["exception"], flush=True)


def error(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def banner(url: str, volume: str, keys: Mapping[str, str]) -> None:
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


def _write(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
