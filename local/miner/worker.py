"""The miner's work: register, poll, run jobs, keep their leases, deliver."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from local.miner.api import Coordinator, Refused, Unreachable
from local.miner.executors import Done, ExecutionFailed, Executor
from local.miner.identity import Identity

_PROGRESS_SECONDS = 1.0
_PROGRESS_TIMEOUT_SECONDS = 5.0
# How long a drain waits for the poll under way: its answer may hold a job that is leased to us by now.
_LAST_POLL_SECONDS = 5.0
# While its backend is away a miner would use up the attempts of one job after the other, so it asks for none.
_FIRST_REST_SECONDS = 1.0
_LONGEST_REST_SECONDS = 60.0
# The coordinator's word that nobody waits for this job's answer from us.
_GIVEN_UP = frozenset({"JOB_CANCELLED", "LEASE_LOST", "JOB_NOT_FOUND", "RESULT_CONFLICT"})


class Fatal(Exception):
    """The coordinator will not work with this miner; the message says why."""


class Worker:
    """Runs the jobs of one miner until it is told to drain."""

    def __init__(
        self,
        coordinator: Coordinator,
        identity: Identity,
        registration: dict[str, Any],
        executors: Mapping[str, Executor],
        log: Callable[[str], None],
    ) -> None:
        self._coordinator = coordinator
        self._identity = identity
        self._registration = {**registration, "public_key": identity.public_key}
        self._concurrency: int = registration["concurrency"]
        self._executors = executors
        self._log = log
        self._jobs: dict[str, asyncio.Task[None]] = {}
        # Set when a poll makes sense sooner than it was asked for: a slot is free, or the miner drains.
        self._wake = asyncio.Event()
        self._draining = asyncio.Event()
        self._heartbeat_seconds = 30.0
        self._rest_seconds = _FIRST_REST_SECONDS
        self._rest_until = 0.0

    def drain(self) -> None:
        """Takes no new jobs; `run` returns when those at hand are delivered."""
        self._draining.set()
        self._wake.set()

    async def run(self, drain_seconds: float) -> None:
        """Works until drained, then delivers what is at hand for so long and deregisters.

        Raises:
            Fatal: the coordinator refuses this miner.
        """
        drained = asyncio.create_task(self._draining.wait())
        working = asyncio.create_task(self._work())
        heartbeats: asyncio.Task[None] | None = None
        try:
            # Also out of the registration, which a coordinator that is away would hold up for ever.
            await asyncio.wait({working, drained}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({working}, timeout=_LAST_POLL_SECONDS)
            if working.done():
                await working
            working.cancel()
            if self._jobs:
                self._log(f"draining: {len(self._jobs)} jobs at hand")
                heartbeats = asyncio.create_task(self._send_heartbeats())
                await asyncio.wait(self._jobs.values(), timeout=drain_seconds)
        finally:
            everything = [drained, working, *([heartbeats] if heartbeats else []), *self._jobs.values()]
            for task in everything:
                task.cancel()
            await asyncio.gather(*everything, return_exceptions=True)
            await self._deregister()

    async def _work(self) -> None:
        await self._register()
        heartbeats = asyncio.create_task(self._send_heartbeats())
        polls = asyncio.create_task(self._poll())
        try:
            done, _ = await asyncio.wait({heartbeats, polls}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (heartbeats, polls):
                task.cancel()
            await asyncio.gather(heartbeats, polls, return_exceptions=True)

    async def _register(self) -> None:
        try:
            miner = await self._coordinator.insist("POST", "register", self._registration)
        except Refused as error:
            raise Fatal(f"registration refused: {error}") from error
        self._coordinator.act_as(miner["id"])
        # Three a lease, so that one lost heartbeat loses no lease.
        self._heartbeat_seconds = min(miner["heartbeat_interval_seconds"], miner["lease_seconds"] / 3)
        self._log(f"registered as {miner['id']}, paid to {miner['address']}")

    async def _deregister(self) -> None:
        with contextlib.suppress(Refused, Unreachable):
            await self._coordinator.call("POST", "deregister", timeout_seconds=5)
            self._log("deregistered")

    async def _poll(self) -> None:
        while not self._draining.is_set():
            self._wake.clear()
            pause = self._rest_until - time.monotonic()
            if len(self._jobs) < self._concurrency and pause <= 0:
                pause = await self._take_jobs()
            if len(self._jobs) >= self._concurrency:
                await self._wake.wait()
            elif pause > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), pause)

    async def _take_jobs(self) -> float:
        """Polls once; gives the seconds after which to ask again."""
        try:
            answer = await self._coordinator.insist("GET", f"jobs?limit={self._concurrency}")
        except Refused as error:
            await self._on_refusal(error)
            return 1.0
        for assignment in answer["items"]:
            # One that is at hand already was handed out again: the coordinator can't know what has arrived.
            if assignment["id"] not in self._jobs:
                task = asyncio.create_task(self._do(assignment))
                self._jobs[assignment["id"]] = task
                task.add_done_callback(partial(self._forget, assignment["id"]))
        return float(answer["poll_after_seconds"])

    def _forget(self, job_id: str, _task: "asyncio.Task[None]") -> None:
        del self._jobs[job_id]
        self._wake.set()

    async def _send_heartbeats(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_seconds)
            await self._send_heartbeat()

    async def _send_heartbeat(self) -> None:
        body = {
            "status": "draining" if self._draining.is_set() else "busy" if self._jobs else "idle",
            "inflight": list(self._jobs),
            "metrics": {"concurrency": self._concurrency, "running": len(self._jobs)},
        }
        try:
            answer = await self._coordinator.call(
                "POST", "heartbeat", body, timeout_seconds=max(1.0, self._heartbeat_seconds / 2)
            )
        except Unreachable:
            return
        except Refused as error:
            await self._on_refusal(error)
            return
        for job_id in answer["cancelled_jobs"]:
            self._stop(job_id, "cancelled")

    async def _on_refusal(self, error: Refused) -> None:
        if error.code == "MINER_NOT_FOUND":
            self._log("the coordinator does not know this miner any more")
            await self._register()
        elif error.status in (401, 403):
            raise Fatal(str(error))
        else:
            self._log(f"refused: {error}")

    def _stop(self, job_id: str, why: str) -> None:
        if job_id in self._jobs:
            self._log(f"job {job_id}: {why}")
            self._jobs[job_id].cancel()

    async def _do(self, assignment: dict[str, Any]) -> None:
        job_id = assignment["id"]
        self._log(f"job {job_id}: {assignment['job_type']}, attempt {assignment['attempt']}")
        began = time.monotonic()
        answer = await self._execute(assignment)
        if answer is None:
            return
        try:
            answer = await self._deliver(answer)
        except Refused as error:
            self._log(f"job {job_id}: {'dropped' if error.code in _GIVEN_UP else 'refused'}: {error}")
            return
        failure = f" with {answer['error']['code']}: {answer['error']['message'][:200]}" if "error" in answer else ""
        self._log(f"job {job_id}: {answer['status']}{failure} after {time.monotonic() - began:.1f} s")

    async def _deliver(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Posts the answer; one that can't be taken, such as too large a result, as a failure.

        Raises:
            Refused: nobody waits for it, or the failure is refused too.
        """
        try:
            await self._coordinator.insist("POST", "result", answer)
        except Refused as error:
            if error.code in _GIVEN_UP or answer["status"] == "failed":
                raise
            # Without an answer the job would be handed out and worked out again and again.
            failure = {"code": "INVALID_RESULT", "message": str(error), "retryable": False}
            named = {"job_id": answer["job_id"], "lease_token": answer["lease_token"]}
            return await self._deliver({**named, "status": "failed", "error": failure})
        return answer

    async def _execute(self, assignment: dict[str, Any]) -> dict[str, Any] | None:
        """The answer to post, or None when nobody waits for it any more."""
        answer: dict[str, Any] = {"job_id": assignment["id"], "lease_token": assignment["lease_token"]}
        progress = _Progress(self._coordinator, assignment)
        executor = self._executors[assignment["job_type"]]
        try:
            async with asyncio.timeout(assignment["timeout_seconds"]):
                done = await executor.run(assignment, progress.report)
            self._rest_seconds = _FIRST_REST_SECONDS
            return {**answer, **self._signed(assignment, done)}
        except TimeoutError:
            message = f"not done within {assignment['timeout_seconds']} s"
            failure = {"code": "TIMEOUT", "message": message, "retryable": True}
        except ExecutionFailed as error:
            failure = {"code": error.code, "message": str(error), "retryable": error.retryable}
            if error.code == "BACKEND_UNAVAILABLE":
                self._rest()
        except _NotWanted as error:
            self._log(f"job {assignment['id']}: {error}")
            return None
        except Exception as error:  # noqa: BLE001  (unanswered, the job would be lost until its lease ends)
            failure = {"code": "MINER_ERROR", "message": f"{type(error).__name__}: {error}", "retryable": True}
        return {**answer, "status": "failed", "error": failure}

    def _rest(self) -> None:
        """Asks for no work for a while, longer each time until a job succeeds."""
        self._rest_until = time.monotonic() + self._rest_seconds
        self._rest_seconds = min(self._rest_seconds * 2, _LONGEST_REST_SECONDS)

    def _signed(self, assignment: dict[str, Any], done: Done) -> dict[str, Any]:
        try:
            signature = self._identity.sign_result(assignment["id"], assignment["lease_token"], done.result)
        except ValueError as error:
            raise ExecutionFailed("INVALID_RESULT", str(error), retryable=False) from error
        return {"status": "completed", "result": done.result, "metrics": done.metrics, "signature": signature}


class _NotWanted(Exception):
    """The job was cancelled, or given to another miner."""


class _Progress:
    """Reports how far a job is, at most about once a second."""

    def __init__(self, coordinator: Coordinator, assignment: dict[str, Any]) -> None:
        self._coordinator = coordinator
        self._path = f"jobs/{assignment['id']}/progress"
        self._lease_token = assignment["lease_token"]
        self._last = 0.0

    async def report(self, percent: float, message: str) -> None:
        if time.monotonic() - self._last < _PROGRESS_SECONDS:
            return
        self._last = time.monotonic()
        body = {"lease_token": self._lease_token, "percent": percent, "message": message[:500]}
        try:
            answer = await self._coordinator.call("POST", self._path, body, timeout_seconds=_PROGRESS_TIMEOUT_SECONDS)
        except Unreachable:
            return
        except Refused as error:
            if error.code in _GIVEN_UP:
                raise _NotWanted(str(error)) from error
            return
        if answer["cancelled"]:
            raise _NotWanted("cancelled")
