"""What does the work: an OpenAI-compatible server, or a command."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx

from local.children import die_with_parent

# Called with percent (0-100) and a message.
Report = Callable[[float, str], Awaitable[None]]

_DEFAULT_MAX_TOKENS = 256
_PASSED_ON = ("max_tokens", "temperature", "top_p", "stop", "seed", "presence_penalty", "frequency_penalty")
_STDERR_TAIL = 2000
_MAX_OUTPUT_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Done:
    result: Any
    metrics: dict[str, Any] = field(default_factory=dict)


class ExecutionFailed(Exception):
    """The job can't be done, or not now."""

    def __init__(self, code: str, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable


class Executor(Protocol):
    """Runs one job; stops what it started when it is cancelled."""

    async def run(self, assignment: dict[str, Any], report: Report) -> Done:
        """Gives the result.

        Raises:
            ExecutionFailed: with the code that the client will see.
        """


class OpenAiExecutor:
    """Completes prompts and chats with any server that speaks OpenAI's API (Ollama, vLLM, llama.cpp)."""

    def __init__(self, backend: str, default_model: str | None) -> None:
        # Manuals give the address with and without /v1.
        address = backend.rstrip("/").removesuffix("/v1")
        self._http = httpx.AsyncClient(base_url=address + "/v1/", timeout=httpx.Timeout(600, connect=10))
        self._default_model = default_model

    async def run(self, assignment: dict[str, Any], report: Report) -> Done:
        parameters = assignment["parameters"]
        body = {name: parameters[name] for name in _PASSED_ON if name in parameters}
        body.setdefault("max_tokens", _DEFAULT_MAX_TOKENS)
        if not isinstance(body["max_tokens"], int) or body["max_tokens"] < 1:
            raise _invalid("max_tokens must be a positive integer")
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        if isinstance(parameters.get("messages"), list):
            path, body["messages"] = "chat/completions", parameters["messages"]
        elif isinstance(parameters.get("prompt"), str):
            path, body["prompt"] = "completions", parameters["prompt"]
        else:
            raise _invalid("give a prompt (text) or messages (a list)")
        try:
            body["model"] = await self._model(parameters)
            try:
                return await self._stream(path, body, report)
            except _NotOffered:
                if path != "completions":
                    raise ExecutionFailed("BACKEND_REJECTED", "it offers no chat", retryable=False) from None
                body["messages"] = [{"role": "user", "content": body.pop("prompt")}]
                return await self._stream("chat/completions", body, report)
        except httpx.HTTPError as error:
            message = f"{type(error).__name__} {error}".strip()
            raise ExecutionFailed("BACKEND_UNAVAILABLE", message, retryable=True) from error

    async def _model(self, parameters: dict[str, Any]) -> str:
        wanted = parameters.get("model", self._default_model)
        if wanted is None:
            response = await self._http.get("models")
            await _check(response, "models")
            models = response.json().get("data") or []
            wanted = self._default_model = models[0]["id"] if models else "default"
        if not isinstance(wanted, str):
            raise _invalid("model must be text")
        return wanted

    async def _stream(self, path: str, body: dict[str, Any], report: Report) -> Done:
        texts: list[str] = []
        finish_reason: str | None = None
        usage: dict[str, Any] = {}
        async with self._http.stream("POST", path, json=body) as response:
            await _check(response, path)
            async for chunk in _events(response):
                usage = chunk.get("usage") or usage
                for choice in chunk.get("choices") or []:
                    delta = choice.get("delta") or {}
                    texts.append(choice.get("text") or delta.get("content") or "")
                    finish_reason = choice.get("finish_reason") or finish_reason
                # Each chunk carries about one token; how many there will be at most is known.
                percent = min(99.0, round(100 * len(texts) / body["max_tokens"], 1))
                await report(percent, f"{len(texts)} tokens")
        if finish_reason is None:
            raise ExecutionFailed("BACKEND_UNAVAILABLE", "the answer broke off", retryable=True)
        tokens = usage.get("completion_tokens", len(texts))
        return Done(
            {
                "text": "".join(texts),
                "model": body["model"],
                "finish_reason": finish_reason,
                "usage": {"prompt_tokens": usage.get("prompt_tokens", 0), "completion_tokens": tokens},
            },
            {"units": tokens, "unit_type": "tokens"},
        )


class CommandExecutor:
    """Runs a command for each job: the job as JSON on its stdin, the result as JSON on its stdout.

    A line "progress 40 some message" on stderr reports progress. The command and all it started is killed when the
    job is cancelled or its time is up.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = arguments

    async def run(self, assignment: dict[str, Any], report: Report) -> Done:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        except OSError as error:
            # It was there when the miner started; another miner, or this one later, may have it.
            raise ExecutionFailed("COMMAND_FAILED", str(error), retryable=True) from error
        try:
            job = {name: assignment[name] for name in ("id", "job_type", "parameters", "constraints", "attempt")}
            _, output, complaints = await asyncio.gather(
                _feed(process, json.dumps(job).encode()), _read_output(process), _read_complaints(process, report)
            )
            code = await process.wait()
        finally:
            # Whatever it has left behind in its process group goes too.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        if code != 0:
            raise ExecutionFailed("COMMAND_FAILED", f"exit code {code}: {complaints}".strip(), retryable=False)
        try:
            return Done(json.loads(output))
        except ValueError:
            raise ExecutionFailed("COMMAND_FAILED", "its output is no JSON", retryable=False) from None


class _NotOffered(Exception):
    """The server has no such endpoint."""


def _invalid(message: str) -> ExecutionFailed:
    return ExecutionFailed("INVALID_PARAMETERS", message, retryable=False)


async def _check(response: httpx.Response, path: str) -> None:
    if response.is_success:
        return
    text = (await response.aread()).decode("utf-8", "replace")[:500]
    if response.status_code == httpx.codes.NOT_FOUND and path == "completions" and "model" not in text.lower():
        raise _NotOffered
    if response.is_server_error or response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        raise ExecutionFailed("BACKEND_UNAVAILABLE", f"status {response.status_code}: {text}", retryable=True)
    raise ExecutionFailed("BACKEND_REJECTED", f"status {response.status_code}: {text}", retryable=False)


async def _events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The chunks of a stream of server-sent events, up to its end mark."""
    async for line in response.aiter_lines():
        data = line.removeprefix("data:").strip()
        if not line.startswith("data:") or data == "[DONE]":
            continue
        try:
            chunk = json.loads(data)
        except ValueError:
            raise ExecutionFailed("BACKEND_UNAVAILABLE", "its stream is no JSON", retryable=True) from None
        if "error" in chunk:
            raise ExecutionFailed("BACKEND_UNAVAILABLE", str(chunk["error"])[:500], retryable=True)
        yield chunk


async def _feed(process: asyncio.subprocess.Process, data: bytes) -> None:
    assert process.stdin is not None  # noqa: S101
    # A command need not read what it does not want to know.
    with suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(data)
        await process.stdin.drain()
    process.stdin.close()


async def _read_output(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None  # noqa: S101
    output = bytearray()
    while chunk := await process.stdout.read(65_536):
        output += chunk
        if len(output) > _MAX_OUTPUT_BYTES:
            raise ExecutionFailed("COMMAND_FAILED", "its output is too large", retryable=False)
    return bytes(output)


async def _read_complaints(process: asyncio.subprocess.Process, report: Report) -> str:
    assert process.stderr is not None  # noqa: S101
    tail = ""
    async for raw in process.stderr:
        line = raw.decode("utf-8", "replace")
        word, _, rest = line.strip().partition(" ")
        percent, _, message = rest.partition(" ")
        if word == "progress" and percent.isdigit():
            await report(min(100.0, float(percent)), message)
        else:
            tail = (tail + line)[-_STDERR_TAIL:]
    return tail.strip()
