"""A miner for any coordinator: `python -m local.miner --help`."""

import argparse
import asyncio
import contextlib
import os
import re
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from local.miner.api import Coordinator
from local.miner.executors import CommandExecutor, Executor, OpenAiExecutor
from local.miner.identity import Identity, IdentityInUse
from local.miner.worker import Fatal, Worker


def main() -> int:
    options = _options(sys.argv[1:])
    try:
        identity = Identity(options.identity)
    except (IdentityInUse, OSError, ValueError) as error:
        return _refuse(str(error))
    capabilities = [_capability(text) for text in options.capability]
    executors: dict[str, Executor] = {}
    for capability in capabilities:
        job_type = capability["job_type"]
        if job_type == "llm_inference" and options.backend:
            executors[job_type] = OpenAiExecutor(options.backend, options.model)
        elif options.command:
            executors[job_type] = CommandExecutor(options.command)
        else:
            needed = "--backend URL or --command COMMAND" if job_type == "llm_inference" else "--command COMMAND"
            return _refuse(f"nothing would run {job_type} jobs: give {needed}")
    if options.address is None and options.price != "0":
        return _refuse("a miner with a --price must say to which --address it is paid")
    registration = {
        "address": options.address or identity.default_address,
        "endpoint": options.endpoint,
        "capabilities": capabilities,
        "hardware": {"gpus": options.gpu, "cuda": options.cuda},
        "region": options.region,
        "price": options.price,
        "concurrency": options.concurrency,
        "name": options.name,
    }
    with contextlib.suppress(KeyboardInterrupt):
        return asyncio.run(_run(options, identity, registration, executors))
    return 0


async def _run(
    options: argparse.Namespace, identity: Identity, registration: dict[str, Any], executors: dict[str, Executor]
) -> int:
    coordinator = Coordinator(options.url, options.api_key, _log)
    worker = Worker(coordinator, identity, registration, executors, _log)
    running = asyncio.create_task(worker.run(options.drain_seconds))
    signals = 0

    def on_signal() -> None:
        nonlocal signals
        signals += 1
        if signals == 1:
            _log(f"finishing what is at hand within {options.drain_seconds:g} s; once more stops at once")
            worker.drain()
        else:
            running.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    try:
        await running
    except Fatal as error:
        return _refuse(str(error))
    except asyncio.CancelledError:
        pass
    finally:
        await coordinator.close()
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.miner", description="Runs jobs for a coordinator.")
    parser.add_argument("--url", type=_url, required=True, help="the coordinator, such as http://127.0.0.1:8000")
    parser.add_argument("--api-key", required=True, help="a key with the miner role")
    parser.add_argument(
        "--capability", action="append", required=True, metavar="TYPE[=MODEL,...]", help="a job type; may be repeated"
    )
    parser.add_argument("--backend", type=_url, metavar="URL", help="an OpenAI-compatible server, for llm_inference")
    parser.add_argument("--model", help="the backend's model for jobs that name none; else its first")
    parser.add_argument(
        "--command", type=_command, help="runs every other job: JSON on its stdin, the result as JSON on its stdout"
    )
    parser.add_argument("--address", help="the wallet that is paid")
    parser.add_argument("--price", default="0", help="AITBC a job; %(default)s")
    parser.add_argument("--concurrency", type=int, default=1, help="how many jobs at once; %(default)s")
    parser.add_argument(
        "--gpu",
        type=_gpu,
        action="append",
        default=[],
        metavar="NAME=MEMORY_MB",
        help="offered to jobs; may be repeated",
    )
    parser.add_argument("--cuda", metavar="VERSION", help="offered to jobs, such as 12.4")
    parser.add_argument("--region", help="offered to jobs")
    parser.add_argument("--endpoint", help="where this machine can be reached, if it is told apart by that")
    parser.add_argument("--name", help="for people")
    parser.add_argument(
        "--identity",
        type=Path,
        default=Path(".local/miner.pem"),
        help="the key that signs results, made on first use; one for each miner; %(default)s",
    )
    parser.add_argument(
        "--drain-seconds", type=float, default=60, help="for the jobs at hand when stopped; %(default)s"
    )
    return parser.parse_args(arguments)


def _capability(text: str) -> dict[str, Any]:
    job_type, _, models = text.partition("=")
    return {"job_type": job_type, "models": [model for model in models.split(",") if model]}


def _gpu(text: str) -> dict[str, Any]:
    match = re.fullmatch(r"([^=]+)(?:=([0-9]+))?", text)
    if match is None:
        raise argparse.ArgumentTypeError("write NAME=MEMORY_MB, such as 'RTX 4090=24564'")
    return {"name": match[1], "memory_mb": int(match[2] or 0)}


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError("it must begin with http:// or https://")
    return text


def _command(text: str) -> list[str]:
    try:
        arguments = shlex.split(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if arguments and shutil.which(arguments[0]) is None:
        raise argparse.ArgumentTypeError(f"there is no command {arguments[0]!r}")
    return arguments


def _refuse(message: str) -> int:
    print(f"aitbc-miner: {message}", file=sys.stderr)
    return 1


def _log(message: str) -> None:
    try:
        print(f"{time.strftime('%H:%M:%S')} {message}", flush=True)
    except BrokenPipeError:
        # Nobody reads any more; the work goes on.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
