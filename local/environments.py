"""Execution environments: processes that run a function, one event each at a time, as many as are needed."""

import asyncio
import json
import os
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast
from uuid import uuid4

from local.template import Function

_RUNTIME = Path(__file__).with_name("runtime.py")
_REGION = "us-east-1"
# What a process needs of the machine; a function sees nothing else of the shell that started the emulator.
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
_PASSED_ON_PREFIXES = ("AWS_", "COVERAGE_")

_INIT_TIMEOUT_SECONDS = 30
# A request that has waited this long for a busy environment is worth a cold start.
_SCALE_OUT_SECONDS = 0.01
_IDLE_SECONDS = 60
_REAP_SECONDS = 15


class FunctionFailed(Exception):
    """The function raised, crashed or could not be imported; the message is for the log."""


class ProcessEnded(FunctionFailed):
    """The process of an environment ended, killed or by itself."""

    def __init__(self) -> None:
        super().__init__("the process ended")


class FunctionTimedOut(Exception):
    """The function did not answer within its Timeout and was killed."""


class ShuttingDown(Exception):
    """The emulator stops and starts nothing new."""


class Invocation(NamedTuple):
    result: Any
    # Whether the event had to wait for a new environment.
    cold: bool


class _Channel(asyncio.Protocol):
    """Frames of JSON to and from the process of an environment."""

    def __init__(self, on_lost: Callable[[], None]) -> None:
        self._buffer = bytearray()
        self._expected: asyncio.Future[dict[str, Any]] | None = None
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) < 4:  # noqa: PLR2004
            return
        end = 4 + int.from_bytes(self._buffer[:4], "big")
        if len(self._buffer) >= end:
            frame = json.loads(self._buffer[4:end])
            del self._buffer[:end]
            if self._expected is not None and not self._expected.done():
                self._expected.set_result(frame)

    def connection_lost(self, _error: Exception | None) -> None:
        self.lost = True
        if self._expected is not None and not self._expected.done():
            self._expected.set_exception(ProcessEnded())
        self._on_lost()

    def send(self, message: Any) -> None:
        assert self._transport is not None  # noqa: S101
        data = json.dumps(message).encode()
        self._transport.write(len(data).to_bytes(4, "big") + data)

    async def receive(self, timeout_seconds: float) -> dict[str, Any]:
        """The next frame.

        Raises:
            TimeoutError: it did not come in time.
            ProcessEnded: it will never come.
        """
        loop = asyncio.get_running_loop()
        if self.lost:
            raise ProcessEnded
        expected: asyncio.Future[dict[str, Any]] = loop.create_future()
        self._expected = expected
        timer = loop.call_later(timeout_seconds, _expire, expected)
        try:
            return await expected
        finally:
            timer.cancel()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _expire(expected: asyncio.Future[Any]) -> None:
    if not expected.done():
        expected.set_exception(TimeoutError())


class _Environment:
    """One process that has imported the function's handler."""

    def __init__(self, function: Function, generation: int, on_lost: Callable[["_Environment"], None]) -> None:
        self.function = function
        self.generation = generation
        self.idle_since = 0.0
        self._channel = _Channel(lambda: on_lost(self))
        self._process: asyncio.subprocess.Process | None = None
        self._lifeline: int | None = None

    @property
    def alive(self) -> bool:
        return not self._channel.lost

    async def start(self, variables: Mapping[str, str], print_line: Callable[[str, str], None]) -> None:
        ours, theirs = socket.socketpair()
        lifeline, self._lifeline = os.pipe()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                str(_RUNTIME),
                str(theirs.fileno()),
                str(lifeline),
                cwd=self.function.code,
                env=_process_environment(self.function, variables),
                pass_fds=(theirs.fileno(), lifeline),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                limit=16 * 1024 * 1024,
            )
        os.close(lifeline)
        self._printing = asyncio.create_task(self._print_output(print_line))
        await asyncio.get_running_loop().create_connection(lambda: self._channel, sock=ours)
        try:
            init = await self._channel.receive(_INIT_TIMEOUT_SECONDS)
        except TimeoutError:
            self.kill()
            raise FunctionFailed(f"importing {self.function.handler} took over {_INIT_TIMEOUT_SECONDS} s") from None
        if "import_error" in init:
            self.kill()
            raise FunctionFailed(f"{self.function.handler} can't be imported\n{init['import_error']}")

    async def call(self, event: Any) -> Any:
        request_id = str(uuid4())
        seconds = self.function.timeout_seconds
        self._channel.send({"event": event, "request_id": request_id, "timeout_seconds": seconds})
        try:
            answer = await self._channel.receive(seconds)
        except TimeoutError:
            self.kill()
            raise FunctionTimedOut(f"no answer within {seconds:g} s") from None
        if "error" in answer:
            raise FunctionFailed(f"the handler raised\n{answer['error']}")
        return answer["result"]

    def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
        self._channel.close()
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None

    async def ended(self) -> None:
        if self._process is not None:
            await self._process.wait()
            await self._printing

    async def _print_output(self, print_line: Callable[[str, str], None]) -> None:
        assert self._process is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        while line := await _read_line(self._process.stdout):
            print_line(self.function.name, line.decode("utf-8", "replace").rstrip("\n"))


async def _read_line(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readline()
    except ValueError:
        return b"(a line too long to print)\n"


class Pool:
    """All environments of one function; a request goes to whichever is free first."""

    def __init__(
        self,
        function: Function,
        variables: Mapping[str, str],
        max_environments: int,
        print_line: Callable[[str, str], None],
    ) -> None:
        self._function = function
        self._variables = variables
        self._max_environments = max_environments
        self._print_line = print_line
        self._generation = 0
        self._environments: set[_Environment] = set()
        # The most recently used one is at the end and goes first, so that the others can age.
        self._idle: list[_Environment] = []
        self._waiting: deque[asyncio.Future[_Environment]] = deque()
        self._starting: set[asyncio.Task[None]] = set()
        self._closed = False

    async def invoke(self, event: Any) -> Invocation:
        """Runs the function on an event.

        Raises:
            FunctionFailed: it raised, crashed or can't be imported.
            FunctionTimedOut: it took longer than its Timeout.
            ShuttingDown: the emulator is being stopped.
        """
        environment, cold = await self._acquire()
        try:
            return Invocation(await environment.call(event), cold)
        finally:
            self._release(environment)

    def replace(self, function: Function, variables: Mapping[str, str]) -> None:
        """Serves all further events from new environments; busy ones finish what they are at."""
        self._function, self._variables = function, variables
        self._generation += 1
        for environment in self._idle:
            self._end(environment)
        self._idle.clear()

    async def close(self) -> None:
        self._closed = True
        for task in self._starting:
            task.cancel()
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(ShuttingDown())
        ending = list(self._environments)
        for environment in ending:
            environment.kill()
        await asyncio.gather(*(environment.ended() for environment in ending), *self._starting, return_exceptions=True)

    def reap(self) -> None:
        """Ends environments that have been idle for long; the last one stays warm."""
        oldest_allowed = time.monotonic() - _IDLE_SECONDS
        while len(self._idle) > 1 and self._idle[0].idle_since < oldest_allowed:
            self._end(self._idle.pop(0))

    async def _acquire(self) -> tuple[_Environment, bool]:
        if self._closed:
            raise ShuttingDown
        if self._idle:
            return self._idle.pop(), False
        loop = asyncio.get_running_loop()
        waiting = loop.create_future()
        self._waiting.append(waiting)
        if not self._environments and not self._starting:
            self._start_another()
        else:
            loop.call_later(_SCALE_OUT_SECONDS, self._scale_out, waiting)
        environment = await waiting
        return environment, environment.idle_since == 0.0

    def _scale_out(self, waiting: asyncio.Future[_Environment]) -> None:
        if not waiting.done() and not self._closed and len(self._starting) < len(self._waiting):
            self._start_another()

    def _start_another(self) -> None:
        if len(self._environments) + len(self._starting) < self._max_environments:
            task = asyncio.create_task(self._start())
            self._starting.add(task)
            task.add_done_callback(self._on_started)

    async def _start(self) -> None:
        environment = _Environment(self._function, self._generation, self._on_lost)
        try:
            await environment.start(self._variables, self._print_line)
        except asyncio.CancelledError:
            environment.kill()
            raise
        except (FunctionFailed, OSError) as error:
            environment.kill()
            failure = error if isinstance(error, FunctionFailed) else FunctionFailed(f"no process: {error}")
            if self._environments:
                return  # They serve whoever waits.
            if not isinstance(error, ProcessEnded):
                # Whoever waits would wait for an import that fails each time.
                self._fail_waiting(failure, len(self._waiting))
            elif len(self._starting) == 1:
                # Killed, or killing itself: that costs one request, and `_on_started` tries again for the others.
                self._fail_waiting(failure, 1)
            return
        if self._closed:
            environment.kill()
            return
        self._environments.add(environment)
        self._offer(environment)

    def _on_started(self, task: asyncio.Task[None]) -> None:
        self._starting.discard(task)
        if self._waiting and not self._environments and not self._starting and not self._closed:
            self._start_another()

    def _fail_waiting(self, failure: FunctionFailed, count: int) -> None:
        while self._waiting and count:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_exception(failure)
                count -= 1

    def _release(self, environment: _Environment) -> None:
        environment.idle_since = time.monotonic()
        if environment.alive and environment.generation == self._generation and not self._closed:
            self._offer(environment)
        else:
            self._end(environment)
            if self._waiting and not self._closed:
                self._start_another()

    def _offer(self, environment: _Environment) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(environment)
                return
        environment.idle_since = time.monotonic()
        self._idle.append(environment)

    def _end(self, environment: _Environment) -> None:
        environment.kill()
        self._environments.discard(environment)

    def _on_lost(self, environment: _Environment) -> None:
        """An idle environment that died by itself is never handed an event."""
        self._end(environment)
        if environment in self._idle:
            self._idle.remove(environment)


def _process_environment(function: Function, variables: Mapping[str, str]) -> dict[str, str]:
    """What Lambda sets for a function, and what the template gives it.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
    """
    machine = {
        name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }
    region = machine.get("AWS_REGION", machine.get("AWS_DEFAULT_REGION", _REGION))
    return {
        **machine,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": uuid4().hex,
        "LAMBDA_TASK_ROOT": str(function.code),
        "_HANDLER": function.handler,
        "PYTHONPATH": os.pathsep.join(str(folder) for folder in (function.code, *function.layers)),
        "PYTHONUNBUFFERED": "1",
        **variables,
    }


class Functions:
    """The pools of all functions of a template."""

    def __init__(self, max_environments: int, print_line: Callable[[str, str], None]) -> None:
        self._max_environments = max_environments
        self._print_line = print_line
        self._pools: dict[str, Pool] = {}

    def use(self, functions: Mapping[str, Function], variables_of: Callable[[Function], Mapping[str, str]]) -> None:
        """Serves these functions from now on, each event from freshly imported code."""
        for name, function in functions.items():
            variables = variables_of(function)
            if name in self._pools:
                self._pools[name].replace(function, variables)
            else:
                self._pools[name] = Pool(function, variables, self._max_environments, self._print_line)

    async def invoke(self, function: str, event: Any) -> Invocation:
        return await self._pools[function].invoke(event)

    async def reap_forever(self) -> None:
        while True:
            await asyncio.sleep(_REAP_SECONDS)
            for pool in self._pools.values():
                pool.reap()

    async def close(self) -> None:
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))
