"""The main job from end to end with a real language model: `make demo`.

Starts an emulator, a model server and two miners, submits prompts as a client, and verifies every receipt offline. Then
wallets log in, and one of them buys AITBC with bitcoin, on a chain of the demo's own, and pays the others for answers.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.live import Live
from rich.table import Table

from local.children import die_with_parent
from local.demo.failure import DemoFailed
from local.demo.paid import show_paid_round
from local.demo.prompts import PROMPTS
from local.demo.verify import NotVerified, verify_receipt
from local.regtest.node import NodeFailed, install
from local.volume import REGTEST_FILE

_MINERS = 2
_MAX_TOKENS = 32
_READY_SECONDS = 60
_ALL_DONE_SECONDS = 300
_STOP_SECONDS = 10

console = Console()


@dataclass
class Job:
    id: str
    prompt: str
    parameters: dict[str, Any]
    state: dict[str, Any]


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with tempfile.TemporaryDirectory(prefix="aitbc-demo-") as folder, contextlib.ExitStack() as children:
            _show(Path(folder), children)
    except (DemoFailed, NotVerified, httpx.HTTPError) as error:
        console.print(f"[bold red]The demo failed:[/] {error}", highlight=False)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _show(folder: Path, children: contextlib.ExitStack) -> None:
    api_port, model_port = _free_ports(2)
    api_url, model_url = f"http://127.0.0.1:{api_port}", f"http://127.0.0.1:{model_port}"
    logs = folder / "logs"
    logs.mkdir()

    def start(name: str, *arguments: str) -> subprocess.Popen[bytes]:
        return children.enter_context(_child(logs / f"{name}.log", arguments))

    console.print("Starting the coordinator and the language model ...")
    volume = folder / "volume"
    # The progress is looked at more often than a client may.
    os.environ["RATE_LIMIT_CLIENT"] = "0"
    address = ("--port", str(api_port), "--volume", str(volume))
    bitcoin = _bitcoin_there_is()
    emulator = start("coordinator", "local", *address, "--no-reload", "--quiet", "--bitcoin", bitcoin)
    model = start("model", "local.demo.model", "--port", str(model_port), "--slots", str(_MINERS))
    _wait_until_ready(f"{api_url}/health/ready", emulator, logs / "coordinator.log")
    _wait_until_ready(f"{model_url}/health", model, logs / "model.log")
    keys = json.loads((volume / "keys.json").read_text())

    def start_miner(name: str, *options: str) -> subprocess.Popen[bytes]:
        identity = str(folder / f"{name}.pem")
        return start(
            name,
            *("local.miner", "--url", api_url, "--api-key", keys["miner"], "--name", name, "--identity", identity),
            *("--capability", "llm_inference", "--backend", model_url, *options),
        )

    miners = [start_miner(f"miner {number}") for number in range(1, _MINERS + 1)]
    console.print(f"Serving on {api_url}, {_MINERS} miners, model gemma3-270m. Submitting {len(PROMPTS)} prompts.\n")
    with httpx.Client(base_url=f"{api_url}/v1", headers={"X-Api-Key": keys["client"]}, timeout=40) as client:
        began = time.monotonic()
        jobs = [_submit(client, prompt) for prompt in PROMPTS]
        _follow(client, jobs, [emulator, model, *miners], logs)
        seconds = time.monotonic() - began
        _report(client, httpx.get(f"{api_url}/.well-known/jwks.json").raise_for_status().json(), jobs, seconds)
    console.print()
    node_url = json.loads((volume / REGTEST_FILE).read_text())["url"] if bitcoin else None
    show_paid_round(api_url, keys, start_miner, console, node_url)


def _bitcoin_there_is() -> str:
    """What the emulator is told to take payments on: regtest, or nothing if its node can't be had here."""
    try:
        install()
    except NodeFailed as error:
        why = f"Nobody can pay with bitcoin here, so an operator will give the money: {error}"
        console.print(why, markup=False, highlight=False)
        return ""
    return "regtest"


def _submit(client: httpx.Client, prompt: str) -> Job:
    parameters = {"prompt": prompt, "max_tokens": _MAX_TOKENS, "temperature": 0}
    answer = client.post("/client/jobs", json={"job_type": "llm_inference", "parameters": parameters})
    state = answer.raise_for_status().json()
    return Job(state["id"], prompt, parameters, state)


def _follow(client: httpx.Client, jobs: list[Job], children: Sequence[subprocess.Popen[bytes]], logs: Path) -> None:
    """Shows the jobs' progress until all are finished."""
    until = time.monotonic() + _ALL_DONE_SECONDS
    with Live(_progress_table(jobs), console=console, refresh_per_second=4, transient=True) as live:
        while True:
            states = {
                item["id"]: item for item in client.get("/client/jobs?limit=200").raise_for_status().json()["items"]
            }
            for job in jobs:
                job.state = states[job.id]
            live.update(_progress_table(jobs))
            if all(job.state["status"] in ("completed", "failed") for job in jobs):
                return
            if any(child.poll() is not None for child in children):
                raise DemoFailed(f"a process ended that should not have:\n{_tails(logs)}")
            if time.monotonic() > until:
                raise DemoFailed(f"not all jobs were done within {_ALL_DONE_SECONDS} s:\n{_tails(logs)}")
            time.sleep(0.25)


def _report(client: httpx.Client, jwks: dict[str, Any], jobs: list[Job], seconds: float) -> None:
    """Prints every completion and verifies its receipt.

    Raises:
        DemoFailed: a job has failed, or a forged receipt was believed.
        NotVerified: a receipt does not prove what it should.
    """
    tokens = 0
    by_miner: Counter[str] = Counter()
    answers = []
    for job in jobs:
        answer = client.get(f"/client/jobs/{job.id}/result").raise_for_status().json()
        if answer["status"] != "completed":
            raise DemoFailed(f"job {job.id} failed: {answer['error']}")
        verify_receipt(answer["receipt"], jwks, job.parameters, answer["result"])
        tokens += answer["result"]["usage"]["completion_tokens"]
        by_miner[answer["receipt"]["miner_id"]] += 1
        answers.append(answer)
        console.print(f"[bold]{_one_line(job.prompt)}[/] {_one_line(answer['result']['text'])}", highlight=False)
        console.print(f"  [green]receipt {answer['receipt']['id']} verified[/]\n", highlight=False)
    _require_refusal(answers[0], jwks, jobs[0])
    console.print(f"{len(jobs)} jobs, {tokens} tokens in {seconds:.1f} s ({tokens / seconds:.0f} tokens/s)")
    console.print(f"{len(jobs)} receipts verified offline, a forged one refused")
    for miner_id, count in by_miner.most_common():
        console.print(f"miner {miner_id}: {count} jobs")


def _require_refusal(answer: dict[str, Any], jwks: dict[str, Any], job: Job) -> None:
    """A check that can't fail proves nothing: a result that was tampered with must be noticed."""
    forged = {**answer["result"], "text": answer["result"]["text"] + "!"}
    try:
        verify_receipt(answer["receipt"], jwks, job.parameters, forged)
    except NotVerified:
        return
    raise DemoFailed("a receipt was believed for a result that it is not about")


def _progress_table(jobs: list[Job]) -> Table:
    table = Table(title="Jobs")
    for heading in ("prompt", "status", "miner", "progress"):
        table.add_column(heading, no_wrap=True)
    colours = {"pending": "dim", "running": "yellow", "completed": "green", "failed": "red"}
    for job in jobs:
        status, progress = job.state["status"], job.state["progress"]
        bar = "█" * int(progress["percent"] / 10)
        table.add_row(
            _one_line(job.prompt)[:44],
            f"[{colours[status]}]{status}[/]",
            (job.state["miner_id"] or "")[-6:],
            f"{bar:<10} {progress['message'] or ''}",
        )
    return table


@contextlib.contextmanager
def _child(log: Path, arguments: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A module run as a process of its own, ended with the demo however that ends."""
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  (this interpreter, our modules)
            [sys.executable, "-m", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,  # noqa: PLW1509  (the demo has one thread when it starts them)
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _READY_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise DemoFailed(log.read_text(errors="replace").strip())
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=5).is_success:
                return
        time.sleep(0.1)
    raise DemoFailed(f"{url} was not ready within {_READY_SECONDS} s:\n{log.read_text(errors='replace')[-2000:]}")


def _tails(logs: Path) -> str:
    return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in sorted(logs.iterdir()))


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for bound in sockets:
            bound.bind(("127.0.0.1", 0))
        return [bound.getsockname()[1] for bound in sockets]


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("[", "\\[")


if __name__ == "__main__":
    sys.exit(main())
