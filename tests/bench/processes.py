"""Runs the parts of a load as processes that start their work together."""

import multiprocessing
import os
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

_TIMEOUT_SECONDS = 600
_READY_SECONDS = 120

# A part is called with `meet`, which returns when all parts have called it, and with its own arguments.
Meet = Callable[[], object]
Part = tuple[Callable[..., Any], tuple[Any, ...]]


def together(*parts: Part, variables: dict[str, str] | None = None, method: str = "spawn") -> list[Any]:
    """What each part returns, each run in a process of its own with these variables in its environment.

    By `method="fork"` they begin with what this process has imported, which should have no threads.

    Raises:
        RuntimeError: a part failed; the message is its traceback.
    """
    context = multiprocessing.get_context(method)
    barrier = context.Barrier(len(parts))
    running = []
    for function, arguments in parts:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(theirs, barrier, function, arguments, variables or {}))
        process.start()
        theirs.close()
        running.append((process, ours))
    try:
        return _outcomes([pipe for _, pipe in running])
    finally:
        for process, _ in running:
            process.terminate()
            process.join()


def alone(function: Callable[..., Any], *arguments: Any, variables: dict[str, str] | None = None) -> Any:
    """What a function returns in a process of its own; it is called with its arguments only."""
    [outcome] = together((_without_meeting, (function, arguments)), variables=variables)
    return outcome


def _without_meeting(_meet: Meet, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    return function(*arguments)


def _outcomes(pipes: list[Connection]) -> list[Any]:
    """In the order of the pipes, taken as they come, so that the first failure to come is the one that is told."""
    outcomes: dict[Connection, Any] = {}
    while missing := [pipe for pipe in pipes if pipe not in outcomes]:
        ready = wait(missing, _TIMEOUT_SECONDS)
        if not ready:
            raise RuntimeError(f"a process has not finished within {_TIMEOUT_SECONDS} s")
        for pipe in ready:
            outcomes[pipe] = _outcome(pipe)
    return [outcomes[pipe] for pipe in pipes]


def _outcome(pipe: Any) -> Any:
    try:
        failure, outcome = pipe.recv()
    except EOFError:
        raise RuntimeError("a process ended without a word") from None
    if failure is not None:
        raise RuntimeError(failure)
    return outcome


def _run(
    pipe: Connection, barrier: Any, function: Callable[..., Any], arguments: Any, variables: dict[str, str]
) -> None:
    os.environ |= variables
    try:
        pipe.send((None, function(lambda: barrier.wait(_READY_SECONDS), *arguments)))
    except BaseException:  # noqa: BLE001  (whatever it is, it is told, before the others fail for it)
        pipe.send((traceback.format_exc(), None))
        barrier.abort()
