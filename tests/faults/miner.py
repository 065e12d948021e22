"""A miner that notes all it sees and does: `python -m tests.faults.miner`. Light, so that many can run and be killed.

A note is one line of JSON, appended by a single write. Where that crosses a page of the file kill -9 may tear it: then
it is as if the miner had been killed just before, as a note is made before what it tells of is done, or when it is.
"""

import json
import os
import random
import sys
import time
from typing import Any

from tests.faults.caller import Answer, Caller

_HEARTBEAT_SECONDS = 0.6
_LONGEST_PAUSE_SECONDS = 0.5
# One in 32 jobs, by its id; what is left of that is random.
_OUTLASTING = ("00", "20", "40", "60", "80", "a0", "c0", "e0")
# What may be said to a miner whose lease has ended.
_LEASE_ENDED = ("LEASE_LOST", "JOB_CANCELLED")


class Miner:
    def __init__(self, port: str, key: str, name: str, seed: str, concurrency: str, notes: str) -> None:
        self._random = random.Random(f"{seed} {name}")
        self._name = name
        self._concurrency = int(concurrency)
        self._notes = os.open(notes, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        # Ends what the one before may have left torn.
        os.write(self._notes, b"\n")
        self._caller = Caller(int(port), key, self._random, lambda trouble: self._note("trouble", what=trouble))
        self._heartbeat_due = 0.0
        self._inflight: list[str] = []

    def run(self) -> None:
        # The address is the identity: a miner that was killed is the same one when it registers again.
        identity = {"address": self._name, "name": self._name}
        body = {**identity, "capabilities": ["custom"], "concurrency": self._concurrency}
        answer = self._caller.insist("POST", "/v1/miner/register", body)
        self._expect(answer, (200, 201))
        self._caller.headers["X-Miner-Id"] = answer.json["id"]
        self._note("registered", miner_id=answer.json["id"])
        while True:
            self._heartbeat()
            answer = self._caller.insist("GET", f"/v1/miner/jobs?limit={self._concurrency}")
            self._expect(answer, (200,))
            self._inflight = [assignment["id"] for assignment in answer.json["items"]]
            for assignment in answer.json["items"]:
                self._note("leased", **_named(assignment), attempt=assignment["attempt"])
            for assignment in answer.json["items"]:
                self._do(assignment)
                self._inflight.remove(assignment["id"])
            if not answer.json["items"]:
                time.sleep(min(answer.json["poll_after_seconds"], _LONGEST_PAUSE_SECONDS))

    def _do(self, assignment: dict[str, Any]) -> None:
        if self._work(assignment):
            body = {**_named(assignment), **self._answer()}
            self._note("posting", attempt=assignment["attempt"], **body)
            answer = self._caller.insist("POST", "/v1/miner/result", body)
            self._expect(answer, (200, 201), _LEASE_ENDED)
            if answer.status in (200, 201):
                receipt_id = (answer.json["receipt"] or {}).get("id")
                self._note(
                    "taken",
                    attempt=assignment["attempt"],
                    **_named(assignment),
                    status=answer.json["status"],
                    receipt_id=receipt_id,
                )

    def _work(self, assignment: dict[str, Any]) -> bool:
        """Most jobs are quick, some take longer, a few outlast their lease; tells whether it is done."""
        # In two attempts, so that the late answer to the first comes while another miner is at the second.
        if assignment["attempt"] <= 2 and assignment["id"].endswith(_OUTLASTING):
            time.sleep(2.5)
            return True
        kind = self._random.random()
        seconds = self._random.uniform(0.2, 0.8) if kind < 0.15 else self._random.uniform(0.0, 0.05)
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(0.15, left))
            self._heartbeat()
            if left > 0.15 and not self._progress(assignment):
                return False
        return True

    def _answer(self) -> dict[str, Any]:
        kind = self._random.random()
        if kind < 0.06:
            error = {"code": "AS_SCRIPTED", "message": "The script says so.", "retryable": kind < 0.04}
            return {"status": "failed", "error": error}
        return {"result": {"by": self._name, "once": os.urandom(8).hex()}}

    def _progress(self, assignment: dict[str, Any]) -> bool:
        body = {"lease_token": assignment["lease_token"], "percent": 50}
        answer = self._caller.insist("POST", f"/v1/miner/jobs/{assignment['id']}/progress", body)
        self._expect(answer, (200,), _LEASE_ENDED)
        going_on = answer.status == 200 and not answer.json["cancelled"]
        if going_on:
            self._note("held", **_named(assignment), sent_at=answer.sent_at)
        return going_on

    def _heartbeat(self) -> None:
        if time.monotonic() < self._heartbeat_due:
            return
        # Listed by id, so that a lease of which it never heard, as the answer was lost, is not renewed.
        answer = self._caller.insist("POST", "/v1/miner/heartbeat", {"inflight": self._inflight})
        self._expect(answer, (200,))
        for lease in answer.json["leases"]:
            self._note("held", job_id=lease["job_id"], lease_token=lease["lease_token"], sent_at=answer.sent_at)
        self._heartbeat_due = time.monotonic() + _HEARTBEAT_SECONDS

    def _expect(self, answer: Answer, statuses: tuple[int, ...], errors: tuple[str, ...] = ()) -> None:
        if answer.status not in statuses and answer.json["error"]["code"] not in errors:
            self._note("refused", status=answer.status, answer=answer.json)
            raise SystemExit(1)

    def _note(self, event: str, **what: Any) -> None:
        note = {"event": event, "at": time.monotonic(), **what}
        os.write(self._notes, json.dumps(note).encode() + b"\n")


def _named(assignment: dict[str, Any]) -> dict[str, str]:
    return {"job_id": assignment["id"], "lease_token": assignment["lease_token"]}


if __name__ == "__main__":
    Miner(*sys.argv[1:]).run()
