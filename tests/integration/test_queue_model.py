"""The queue under random calls at random times: every answer, and all that is stored, as a plain model has it."""

import base64
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sqlalchemy import Engine, create_engine, delete, text

from tests.api import ADMIN, BOTH, CLIENT, MINER, OTHER_CLIENT, OTHER_MINER, Answer, Api, forget_process_state, let_pass
from tests.integration.machines import model_examples, run_machine
from tests.integration.queue_model import SILENCE_SECONDS, Job, Lease, Miner, Queue, Verdict

T = TypeVar("T")

EXAMPLES = model_examples(20)

# Every time to live, timeout and jump of the clock is a multiple of this, and no example may last as long: so what the
# model takes for over is over for the database too, though its clock also goes on by itself.
TICK_SECONDS = 30

# The miners there may be and the keys that run them.
MINERS = [(MINER, "ait1one"), (OTHER_MINER, "ait1two"), (MINER, "ait1three"), (BOTH, "ait1four")]
JOBS = st.fixed_dictionaries(
    {
        "job_type": st.sampled_from(["llm_inference", "llm_inference", "llm_inference", "training"]),
        "constraints": st.sampled_from([{}, {}, {}, {}, {"region": "eu"}, {"models": ["llama"]}]),
        "priority": st.sampled_from([5, 5, 0, 9]),
        "max_attempts": st.sampled_from([3, 2, 1]),
        "ttl_seconds": st.sampled_from([3600, 3600, 240, 90]),
        "timeout_seconds": st.sampled_from([600, 90, 30]),
    }
)
REGISTRATIONS = st.fixed_dictionaries(
    {
        "capabilities": st.sampled_from(
            [
                [{"job_type": "llm_inference", "models": ["llama"]}, {"job_type": "training", "models": []}],
                [{"job_type": "llm_inference", "models": ["llama"]}],
                [{"job_type": "llm_inference", "models": []}],
            ]
        ),
        "region": st.sampled_from(["eu", None, "us"]),
        "concurrency": st.sampled_from([2, 1, 3]),
        "price": st.sampled_from(["0"] * 9 + ["1.5"]),
        # Replaced by the miner's own.
        "public_key": st.sampled_from([None, "own"]),
    }
)
ANSWERS: list[dict[str, Any]] = [
    {"status": "completed", "result": {"text": "Paris"}, "error": None},
    {"status": "completed", "result": {"text": "Rome"}, "error": None},
    {"status": "failed", "result": None, "error": {"code": "GPU_LOST", "message": "", "retryable": True}},
    {"status": "failed", "result": None, "error": {"code": "BAD_PROMPT", "message": "", "retryable": False}},
]
# How often each call is made, beside the others.
WEIGHTS = {
    "submit": 8,
    "register": 2,
    "poll": 10,
    "post_result": 8,
    "repeat_result": 3,
    "pass_time": 5,
    "heartbeat": 4,
    "progress": 3,
    "read": 2,
    "read_miner": 1,
    "deregister": 1,
    "cancel": 1,
    "cancel_any": 1,
    "requeue": 2,
    "disable": 1,
    "enable": 2,
    "sweep": 1,
    "begin_anew": 1,
}
NEED_JOB = {"read", "cancel", "cancel_any", "requeue"}
NEED_MINER = {"poll", "heartbeat", "read_miner", "deregister", "disable", "enable"}
NEED_LEASE = {"post_result", "repeat_result", "progress"}
# So that one sweep of a poll does all there is to do.
MOST_JOBS = 15

# What must hold whatever the model says; each statement finds what breaks it.
LAWS = {
    "a job has at most one live lease": """
        SELECT job_id FROM attempts WHERE ended_us IS NULL GROUP BY job_id HAVING count(*) > 1
    """,
    "no job is tried more often than it may": """
        SELECT id FROM jobs WHERE attempts > max_attempts
    """,
    "a job is running while it has a live lease, and only then": """
        SELECT id FROM jobs WHERE (status = 'running')
        <> (EXISTS (SELECT 1 FROM attempts WHERE job_id = jobs.id AND ended_us IS NULL))
    """,
    "a completed job has one receipt, any other none": """
        SELECT id FROM jobs WHERE (SELECT count(*) FROM receipts WHERE job_id = jobs.id)
        <> CASE WHEN status = 'completed' THEN 1 ELSE 0 END
    """,
    "a miner holds no more than its concurrency, an inactive one nothing": """
        SELECT id FROM miners WHERE (SELECT count(*) FROM attempts WHERE miner_id = miners.id AND ended_us IS NULL)
        > CASE WHEN status = 'active' THEN concurrency ELSE 0 END
    """,
}

# All rows of finished jobs.
FINISHED = [
    f"SELECT * FROM {table} WHERE {job_id} IN (SELECT id FROM jobs WHERE status IN ('completed', 'failed'))"
    for table, job_id in (("jobs", "id"), ("attempts", "job_id"), ("receipts", "job_id"))
]


class Speaker(NamedTuple):
    key: str
    # The header X-Miner-Id.
    named: Miner | None = None


class Result(NamedTuple):
    """What was posted as a result, to be posted again."""

    speaker: Speaker
    job: Job
    token: str | None
    given: dict[str, Any]
    signature: str | None


# Nothing can be removed from them, or they begin with rows.
KEPT = {"audit", "job_counts", "receipt_log_origin", "payment_counts"}


class Machine(RuleBasedStateMachine):
    """Makes the calls and judges the answers.

    All calls are one rule: Hypothesis leaves out about half of the rules of each example, and then no job gets far.
    """

    api: Api
    engine: Engine
    data: st.DataObject

    def __init__(self) -> None:
        super().__init__()
        from coordinator.migrations.tables import metadata

        with self.engine.begin() as tx:
            for table in metadata.tables.values():
                if table.name not in KEPT:
                    tx.execute(delete(table))
        self.audited = len(self._rows("SELECT id FROM audit"))
        forget_process_state()
        self.queue = Queue()
        self.results: list[Result] = []
        # Each job and row as it was first seen after its job was finished, times as if the clock had never jumped.
        self.finished_jobs: dict[str, dict[str, Any]] = {}
        self.finished_rows: dict[tuple[Any, ...], dict[str, Any]] = {}
        self.client_ids: dict[str, str] = {}
        self.listed = CLIENT
        self.began = time.monotonic()

    @rule(data=st.data())
    def call(self, data: st.DataObject) -> None:
        self.data = data
        name = self._pick("call", [name for name, weight in WEIGHTS.items() for _ in range(weight)])
        # What is not possible yet makes way for what makes it possible.
        if name in NEED_JOB and not self.queue.jobs:
            name = "submit"
        if name in NEED_MINER and not self.queue.miners:
            name = "register"
        if name in NEED_LEASE and not self.queue.leases:
            name = "poll" if self.queue.miners else "register"
        getattr(self, name)()

    # Clients.

    def submit(self) -> None:
        if len(self.queue.jobs) == MOST_JOBS:
            return
        client = self._pick("client", [CLIENT, OTHER_CLIENT])
        asked = self.data.draw(JOBS, "job") | {"parameters": {"number": len(self.queue.jobs)}}
        answer = self._call(Speaker(client), "POST", "/v1/client/jobs", asked)
        assert said(answer) == 201
        self._check_job(self.queue.submit(client, answer.json["id"], asked), answer.json)

    def read(self) -> None:
        job, client = self._pick_job()
        paths = ("", "/status", "/result", "/receipts")
        answers = {path: self._call(Speaker(client), "GET", f"/v1/client/jobs/{job.id}{path}") for path in paths}
        read = self.queue.read(client, job)
        verdicts = {"": read, "/status": read, "/result": self.queue.result(client, job), "/receipts": read}
        assert {path: said(answer) for path, answer in answers.items()} == verdicts
        if client != job.client:
            return
        # Whoever asks for a job gets it as it is now, swept or not.
        assert not self.queue.is_overdue(job)
        whole, status, result, receipts = (answer.json for answer in answers.values())
        self._check_job(job, whole)
        assert status.pop("eligible_miners") == self.queue.eligible_miners(job)
        assert status == {name: whole[name] for name in status}
        receipt = receipts["items"][0] if receipts["items"] else None
        assert len(receipts["items"]) == (1 if job.completed_by else 0)
        if job.completed_by:
            self._check_receipt(job.completed_by, receipt)
        if job.finished:
            outcome = {"job_id": job.id, "status": job.status, "error": whole["error"]}
            assert result == outcome | {"receipt": receipt, "result": receipt and receipt["result"]}

    def cancel(self) -> None:
        job, client = self._pick_job()
        answer = self._call(Speaker(client), "POST", f"/v1/client/jobs/{job.id}/cancel")
        assert said(answer) == self.queue.cancel(client, job)
        if answer.status == 200:
            self._check_job(job, answer.json)

    def _pick_job(self) -> tuple[Job, str]:
        job = self._pick("job", self.queue.jobs)
        return job, self._pick("client", [job.client, job.client, CLIENT, OTHER_CLIENT])

    # Operators.

    def cancel_any(self) -> None:
        self._operate(self._pick("job", self.queue.jobs), "cancel", self.queue.cancel_any)

    def requeue(self) -> None:
        # Mostly one that is running or has failed.
        started = [job for job in self.queue.jobs if job.lease or job.error]
        job = self._pick("job", started if started and self._pick("started", [True, True, False]) else self.queue.jobs)
        failed = job.status == "failed"
        self._operate(job, "requeue", self.queue.requeue)
        if failed:
            self.finished_jobs.pop(job.id, None)
            self.finished_rows = {key: row for key, row in self.finished_rows.items() if job.id not in key}

    def _operate(self, job: Job, action: str, judge: Callable[[Job], Verdict]) -> None:
        answer = self._call(Speaker(ADMIN), "POST", f"/v1/admin/jobs/{job.id}/{action}")
        assert said(answer) == judge(job)
        if answer.status == 200:
            self._check_job(job, answer.json)

    def disable(self) -> None:
        self._switch("disable", self.queue.disable)

    def enable(self) -> None:
        self._switch("enable", self.queue.enable)

    def _switch(self, action: str, change: Callable[[Miner], None]) -> None:
        miner = self._pick("miner", self.queue.miners)
        answer = self._call(Speaker(ADMIN), "POST", f"/v1/admin/miners/{miner.id}/{action}")
        assert said(answer) == 200
        change(miner)
        self._check_miner(miner, answer.json)
        assert answer.json["disabled"] is miner.disabled

    # Miners.

    def register(self) -> None:
        key, address = self._pick("miner", MINERS)
        asked = self.data.draw(REGISTRATIONS, "registration")
        if asked["public_key"]:
            asked |= {"public_key": base64url(signing_key(address).public_key().public_bytes_raw())}
        known = next((miner for miner in self.queue.miners if miner.address == address), None)
        answer = self._call(Speaker(key), "POST", "/v1/miner/register", {"address": address, **asked})
        miner = known or Miner(key, answer.json["id"], address)
        assert said(answer) == self.queue.register(miner, asked)
        if answer.status < 300:
            self._check_miner(miner, answer.json)

    def deregister(self) -> None:
        answer, who = self._miner_call("POST", "/v1/miner/deregister")
        if who:
            self.queue.deregister(who)
            self._check_miner(who, answer.json)

    def read_miner(self) -> None:
        answer, who = self._miner_call("GET", "/v1/miner/me", registered=False)
        if who:
            self._check_miner(who, answer.json)

    def poll(self) -> None:
        limit = self._pick("limit", [None, None, None, 1, 2])
        method = self._pick("method", ["GET", "POST"])
        answer, who = self._miner_call(method, "/v1/miner/jobs" + (f"?limit={limit}" if limit else ""))
        if not who:
            return
        items = answer.json["items"]
        due = self.queue.due(who, limit or 50)
        held = self.queue.held(who)
        again = len(held) == who.asked["concurrency"]
        if again:
            # In any order, and any of them if fewer were asked for.
            leases = [lease for item in items for lease in held if lease.token == item["lease_token"]]
            assert len(set(leases)) == len(items) == min(limit or 50, len(held))
        else:
            assert [item["id"] for item in items] == [job.id for job in due]
            leases = [self.queue.lease(who, job, item["lease_token"]) for job, item in zip(due, items, strict=True)]
        for lease, item in zip(leases, items, strict=True):
            self._check_assignment(lease, item, redelivered=again)

    def heartbeat(self) -> None:
        ids = [job.id for job in self.queue.jobs]
        inflight = {"left out": None, "a number": 1, "all": ids, "half": ids[::2]}
        sent: Any = inflight[self._pick("inflight", list(inflight))]
        answer, who = self._miner_call("POST", "/v1/miner/heartbeat", {"inflight": sent})
        if not who:
            return
        self.queue.heartbeat(who, sent if isinstance(sent, list) else None)
        beat = answer.json
        assert (beat["status"], beat["heartbeat_interval_seconds"]) == ("active", 30)
        held = {lease.token: lease for lease in self.queue.held(who)}
        assert {told["lease_token"] for told in beat["leases"]} == set(held)
        for told in beat["leases"]:
            assert told["job_id"] == held[told["lease_token"]].job.id
            self._check_seconds_left(held[told["lease_token"]], told["expires_in_seconds"])
        # For how long a cancellation is told is left open, but not for less than a miner may stay silent.
        # What it holds again is not cancelled for it.
        again = {lease.job for lease in held.values()}
        ended = [lease for lease in self.queue.leases if lease.miner is who and lease.cancelled is not None]
        cancelled = [lease for lease in ended if lease.job not in again]
        fresh = {lease.job.id for lease in cancelled if self.queue.now - lease.cancelled < SILENCE_SECONDS}
        assert fresh <= set(beat["cancelled_jobs"]) <= {lease.job.id for lease in cancelled}

    def progress(self) -> None:
        lease, speaker, token = self._pick_lease()
        percent = self.data.draw(st.integers(0, 100), "percent")
        progress = {"percent": float(percent), "message": f"{percent} of 100"}
        body = {"lease_token": token, **progress}
        answer = self._call(speaker, "POST", f"/v1/miner/jobs/{lease.job.id}/progress", body)
        meant = self.queue.lease_of(self.queue.acting(*speaker), lease.job, token)
        assert said(answer) == (self.queue.progress(meant, progress) if isinstance(meant, Lease) else meant)
        if isinstance(meant, Lease) and answer.status == 200:
            assert answer.json["cancelled"] is (meant.cancelled is not None)
            self._check_seconds_left(meant, answer.json["lease_expires_in_seconds"])

    def post_result(self) -> None:
        lease, speaker, token = self._pick_lease()
        given = self._pick("answer", ANSWERS)
        signatures = {
            "right": signature(lease, given["result"]),
            "wrong": signature(lease, "another result"),
            "none": None,
        }
        sent = signatures[self._pick("signature", ["right"] * 4 + ["wrong", "none"])]
        self.results.append(Result(speaker, lease.job, token, given, sent))
        self._post(self.results[-1])

    def repeat_result(self) -> None:
        if self.results:
            self._post(self._pick("result", self.results))

    def _post(self, result: Result) -> None:
        speaker, job, token, given, sent = result
        body = {"job_id": job.id, "lease_token": token, "signature": sent, **given}
        answer = self._call(speaker, "POST", "/v1/miner/result", body)
        meant = self.queue.lease_of(self.queue.acting(*speaker, registered=False), job, token)
        if not isinstance(meant, Lease):
            assert said(answer) == meant
            return
        must_sign = meant.miner.asked["public_key"] and not (given["status"] == "failed" and sent is None)
        signed = not must_sign or sent == signature(meant, given["result"])
        assert said(answer) == self.queue.answer(meant, given, signed=signed)
        if answer.status < 300:
            receipt = answer.json["receipt"]
            assert answer.json == {"job_id": job.id, "status": job.status, "receipt": receipt}
            assert (receipt is not None) is (job.completed_by is meant)
            if receipt:
                self._check_receipt(meant, receipt)

    def _pick_lease(self) -> tuple[Lease, Speaker, str | None]:
        """A lease, who speaks of it, and by which token; mostly one that is live, by its holder."""
        live = [lease for lease in self.queue.leases if lease.live]
        lease = self._pick("lease", live if live and self._pick("live", [True, True, False]) else self.queue.leases)
        miner = self._pick("miner", [lease.miner] * 6 + self.queue.miners)
        other = self._pick("other token", self.queue.leases)
        tokens = {"right": lease.token, "none": None, "other": other.token, "unknown": "0" * 32}
        return (
            lease,
            self._pick_speaker(miner),
            tokens[self._pick("token", ["right"] * 6 + ["none", "other", "unknown"])],
        )

    # The clock, the schedule, and new execution environments.

    def pass_time(self) -> None:
        ticks = self._pick("ticks", [1, 1, 1, 1, 2, 2, 3, 4, 20])
        let_pass(ticks * TICK_SECONDS)
        self.queue.now += ticks * TICK_SECONDS

    def sweep(self) -> None:
        from miner.heartbeats import handler

        assert handler({}, None) == self.queue.sweep()

    def begin_anew(self) -> None:
        forget_process_state()

    # What must hold after every step.

    @invariant()
    def all_is_as_it_must_be(self) -> None:
        self._check_laws()
        self._check_database()
        self._check_finished_rows()
        self._check_list()

    def _check_laws(self) -> None:
        broken = {law: found for law, statement in LAWS.items() if (found := self._rows(statement))}
        assert broken == {}

    def _check_database(self) -> None:
        assert self._rows("SELECT id, status, attempts, error_code FROM jobs ORDER BY id") == [
            (job.id, job.status, len(job.leases), job.error) for job in self.queue.jobs
        ]
        stored = (
            "SELECT job_id, attempt, miner_id, lease_token, ended_us IS NULL FROM attempts ORDER BY job_id, attempt"
        )
        assert self._rows(stored) == [
            (job.id, lease.attempt, lease.miner.id, lease.token, lease.live)
            for job in self.queue.jobs
            for lease in job.leases
        ]
        assert self._rows("SELECT id, status = 'active', registered, disabled FROM miners ORDER BY id") == [
            (miner.id, miner.active, miner.registered, miner.disabled) for miner in self.queue.miners
        ]
        assert self._rows("SELECT action, subject FROM audit ORDER BY id")[self.audited :] == self.queue.changes

    def _check_finished_rows(self) -> None:
        for statement in FINISHED:
            with self.engine.connect() as tx:
                for row in tx.execute(text(statement)).mappings():
                    fixed = {name: self._fixed(name, value) for name, value in row.items()}
                    key = (statement, row.get("id"), row.get("job_id"), row.get("attempt"))
                    assert self.finished_rows.setdefault(key, fixed) == fixed

    def _check_list(self) -> None:
        # One client's after each step, in turns.
        self.listed = OTHER_CLIENT if self.listed == CLIENT else CLIENT
        own = [job for job in reversed(self.queue.jobs) if job.client == self.listed]
        items = self._call(Speaker(self.listed), "GET", "/v1/client/jobs").json["items"]
        assert [item["id"] for item in items] == [job.id for job in own]
        for job, item in zip(own, items, strict=True):
            self._check_job(job, item)

    def _check_job(self, job: Job, seen: dict[str, Any]) -> None:
        at = {name: datetime.fromisoformat(seen[name]) for name in seen if name.endswith("_at") and seen[name]}
        lease, completed_by = job.lease, job.completed_by
        expected = job.asked | {
            "id": job.id,
            "client_id": self.client_ids.setdefault(job.client, seen["client_id"]),
            "status": job.status,
            "attempts": len(job.leases),
            "price": "0" if completed_by else None,
        }
        assert {name: seen[name] for name in expected} == expected
        assert (seen["error"] and seen["error"]["code"]) == job.error
        # A time to live that was given anew began by the database's clock, which also goes on by itself.
        late = at["expires_at"] - at["created_at"] - timedelta(seconds=job.expires - job.submitted)
        assert timedelta(0) <= late < timedelta(seconds=TICK_SECONDS if job.requeued else 0.000001)
        assert ("completed_at" in at) is job.finished
        if job.status == "pending":
            assert (seen["miner_id"], seen["progress"]) == (None, {"percent": 0.0, "message": None})
        if lease:
            assert (seen["miner_id"], seen["progress"]) == (lease.miner.id, lease.progress)
        if completed_by:
            assert (seen["miner_id"], seen["progress"]["percent"]) == (completed_by.miner.id, 100.0)
        if job.finished:
            fixed = {name: self._fixed(name, value) for name, value in seen.items()}
            assert self.finished_jobs.setdefault(job.id, fixed) == fixed

    def _check_miner(self, miner: Miner, seen: dict[str, Any]) -> None:
        shown = ("capabilities", "region", "price", "concurrency")
        assert {name: seen[name] for name in shown} == {name: miner.asked[name] for name in shown}
        assert (seen["id"], seen["address"]) == (miner.id, miner.address)
        assert seen["status"] == ("active" if miner.active else "inactive")

    def _check_assignment(self, lease: Lease, seen: dict[str, Any], *, redelivered: bool) -> None:
        job = lease.job
        expected = {name: job.asked[name] for name in ("job_type", "parameters", "constraints", "timeout_seconds")} | {
            "id": job.id,
            "attempt": lease.attempt,
            "lease_token": lease.token,
            "price": lease.miner.asked["price"],
            "redelivered": redelivered,
        }
        assert {name: seen[name] for name in expected} == expected
        self._check_seconds_left(lease, seen["lease_expires_in_seconds"])

    def _check_seconds_left(self, lease: Lease, seen: float) -> None:
        left = max(0, lease.expires - self.queue.now) if lease.live else 0
        assert left - TICK_SECONDS < seen <= left

    def _check_receipt(self, lease: Lease, seen: dict[str, Any]) -> None:
        result = (lease.answer or {})["result"]
        claims = json.loads(from_base64url(seen["proof"].split(".")[1]))
        named = {"job_id": lease.job.id, "miner_id": lease.miner.id, "client_id": self.client_ids[lease.job.client]}
        assert {name: seen[name] for name in named} == {name: claims[name] for name in named} == named
        assert (seen["id"], seen["result"], seen["result_sha256"]) == (claims["sub"], result, sha256_of(result))
        assert (claims["attempt"], claims["result_sha256"]) == (lease.attempt, sha256_of(result))

    def _fixed(self, name: str, value: Any) -> Any:
        """A time as it would be had the clock never jumped; anything else as it is."""
        if value is not None and name.endswith("_us"):
            return value + self.queue.now * 1_000_000
        if value is not None and name.endswith("_at"):
            return datetime.fromisoformat(value) + timedelta(seconds=self.queue.now)
        return value

    # Calls.

    def _miner_call(
        self, method: str, path: str, body: Any = None, *, registered: bool = True
    ) -> tuple[Answer, Miner | None]:
        """Calls as any miner, in any way; gives the answer and the miner that was meant, None if it was refused."""
        speaker = self._pick_speaker(self._pick("miner", self.queue.miners))
        answer = self._call(speaker, method, path, body)
        who = self.queue.acting(speaker.key, speaker.named, registered=registered)
        if isinstance(who, Miner):
            assert said(answer) == 200
            return answer, who
        assert said(answer) == who
        return answer, None

    def _pick_speaker(self, miner: Miner) -> Speaker:
        another = next(key for key, _ in MINERS if key != miner.key)
        ways = {
            "by name": Speaker(miner.key, miner),
            "unnamed": Speaker(miner.key),
            "by another key": Speaker(another, miner),
        }
        return ways[self._pick("caller", ["by name"] * 6 + ["unnamed", "by another key"])]

    def _call(self, speaker: Speaker, method: str, path: str, body: Any = None) -> Answer:
        # On a machine that stands still for so long the clocks say nothing.
        assume(time.monotonic() - self.began < TICK_SECONDS)
        api = self.api.as_(speaker.key, speaker.named and speaker.named.id)
        answer = api.call(method, path, body=body)
        self._follow_sweeps()
        return answer

    def _pick(self, label: str, options: Sequence[T]) -> T:
        # By name, as Hypothesis prints what is drawn.
        names = [str(option) for option in options]
        return options[names.index(self.data.draw(st.sampled_from(names), label))]

    def _follow_sweeps(self) -> None:
        """Ends in the model what is overdue and was ended by the last call: any call may, only some must."""
        queue = self.queue
        overdue = [job for job in queue.jobs if queue.is_overdue(job)]
        silent = [miner for miner in queue.miners if queue.is_silent(miner)]
        if overdue:
            expired = {id_ for (id_,) in self._rows("SELECT id FROM jobs WHERE error_code = 'EXPIRED'")}
            ended = {token for (token,) in self._rows("SELECT lease_token FROM attempts WHERE outcome = 'expired'")}
            for job in overdue:
                if job.id in expired and job.expires <= queue.now:
                    queue.end_job(job)
                elif job.lease and job.lease.token in ended and job.lease.expires <= queue.now:
                    queue.end_lease(job.lease)
        if silent:
            inactive = {id_ for (id_,) in self._rows("SELECT id FROM miners WHERE status = 'inactive'")}
            for miner in silent:
                if miner.id in inactive:
                    queue.give_up(miner)

    def _rows(self, statement: str) -> list[tuple[Any, ...]]:
        with self.engine.connect() as tx:
            return [tuple(row) for row in tx.execute(text(statement))]


def said(answer: Answer) -> Verdict:
    return answer.status if answer.status < 300 else (answer.status, answer.error)


def signing_key(address: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(address.encode().ljust(32))


def signature(lease: Lease, result: Any) -> str:
    message = f"{lease.job.id}.{lease.token}.{sha256_of(result)}"
    return base64url(signing_key(lease.miner.address).sign(message.encode()))


def sha256_of(value: Any) -> str:
    return hashlib.sha256(rfc8785.dumps(value)).hexdigest()


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(data: str) -> bytes:
    return base64.urlsafe_b64decode(data + "==")


# Shrinking a failure may take five minutes.
@pytest.mark.timeout(600 + 5 * EXAMPLES)
def test_the_queue_is_as_its_model(api: Api, database_url: str) -> None:
    class TheMachine(Machine): ...

    engine = create_engine(database_url)
    TheMachine.api, TheMachine.engine = api, engine
    try:
        run_machine(TheMachine, EXAMPLES, steps=60)
    finally:
        engine.dispose()
