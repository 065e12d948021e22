"""What must be true of a market whatever happened to it; reads its database directly, and asks over HTTP."""

import json
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any

from local.demo.verify import NotVerified, verify_receipt
from tests.faults.market import Market

_FAILURES = frozenset({"ATTEMPTS_EXHAUSTED", "AS_SCRIPTED", "CANCELLED"})
# How an attempt ends by an answer of its miner, and not by the clock or somebody else.
_ANSWERED = frozenset({"completed", "failed"})

# How many jobs the API is asked for one by one.
_SAMPLE = 50

Rows = list[dict[str, Any]]


def broken_promises(market: Market) -> list[str]:
    """Every promise broken to anyone, in words."""
    database = _Database(market)
    notes = market.notes()
    return [
        *_refusals(market, notes),
        *_jobs(market, database),
        *_attempts(database),
        *_leases_as_seen_by_miners(notes),
        *_answers_of_miners(database, notes),
        *_words_to_clients(market, database),
        *_answers_of_api(market, database),
    ]


class _Database:
    def __init__(self, market: Market) -> None:
        self.jobs = {job["id"]: job for job in market.rows("SELECT * FROM jobs")}
        self.attempts: dict[str, Rows] = defaultdict(list)
        for attempt in market.rows("SELECT * FROM attempts ORDER BY job_id, attempt"):
            self.attempts[attempt["job_id"]].append(attempt)
        self.receipts: dict[str, Rows] = defaultdict(list)
        for receipt in market.rows("SELECT * FROM receipts"):
            self.receipts[receipt["job_id"]].append(receipt)
        self.names = {miner["id"]: miner["name"] for miner in market.rows("SELECT id, name FROM miners")}


def _refusals(market: Market, notes: Rows) -> Iterator[str]:
    """Nobody did anything wrong, so nobody may have been told so."""
    for client in market.clients:
        yield from (f"a client was refused: {refusal}" for refusal in client.refusals)
    yield from (f"{n['by']} was refused: {n['status']} {n['answer']}" for n in notes if n.get("event") == "refused")
    for name, miner in market.miners.items():
        if miner.process.poll() is not None:
            yield f"{name} has ended by itself: {miner.output}"


def _jobs(market: Market, database: _Database) -> Iterator[str]:
    for client in market.clients:
        yield from (f"job {job_id}: lost" for job_id in client.acknowledged if job_id not in database.jobs)
    for job_id, job in database.jobs.items():
        receipts = len(database.receipts[job_id])
        if job["status"] == "completed":
            if receipts != 1 or job["error_code"] is not None:
                yield f"job {job_id}: completed with {receipts} receipts, error {job['error_code']}"
        elif job["status"] == "failed":
            if receipts or job["error_code"] not in _FAILURES:
                yield f"job {job_id}: failed with {receipts} receipts, error {job['error_code']}"
        else:
            yield f"job {job_id}: {job['status']} for ever"
    yield from (f"a receipt of no job: {job_id}" for job_id in database.receipts if job_id not in database.jobs)


def _attempts(database: _Database) -> Iterator[str]:
    for job_id, attempts in database.attempts.items():
        job = database.jobs[job_id]
        numbers = [attempt["attempt"] for attempt in attempts]
        if numbers != list(range(1, job["attempts"] + 1)) or job["attempts"] > job["max_attempts"]:
            yield f"job {job_id}: attempts {numbers}, counted {job['attempts']} of {job['max_attempts']}"
        if any(attempt["ended_us"] is None for attempt in attempts):
            yield f"job {job_id}: {job['status']} with a live lease"
            continue
        for one, other in pairwise(attempts):
            # A late answer may be taken after the next lease has ended too, and ends its own attempt only then.
            late = one["outcome"] in _ANSWERED and other["ended_us"] <= one["ended_us"]
            if one["ended_us"] > other["started_us"] and not late:
                yield (
                    f"job {job_id}: attempt {other['attempt']} began "
                    f"{one['ended_us'] - other['started_us']} us before {one['attempt']} ended ({one['outcome']})"
                )
        completed = [attempt["attempt"] for attempt in attempts if attempt["outcome"] == "completed"]
        receipted = [receipt["attempt"] for receipt in database.receipts[job_id]]
        if completed != receipted:
            yield f"job {job_id}: attempts {completed} completed, {receipted} receipted"


def _leases_as_seen_by_miners(notes: Rows) -> Iterator[str]:
    """A lease that was confirmed by a call sent after another miner already had the next one was held twice."""
    got_at: dict[str, dict[int, float]] = defaultdict(dict)
    attempt_of: dict[str, int] = {}
    held_at: dict[tuple[str, int], float] = {}
    for note in notes:
        if note.get("event") == "leased":
            got_at[note["job_id"]].setdefault(note["attempt"], note["at"])
            attempt_of[note["lease_token"]] = note["attempt"]
    for note in notes:
        # Of a lease whose assignment got lost nobody knows which attempt it was.
        if note.get("event") == "held" and note["lease_token"] in attempt_of:
            lease = note["job_id"], attempt_of[note["lease_token"]]
            held_at[lease] = max(held_at.get(lease, 0.0), note["sent_at"])
    for job_id, got in got_at.items():
        for one in got:
            for other in got:
                if one < other and held_at.get((job_id, one), 0.0) >= got[other]:
                    yield f"job {job_id}: attempt {one} was still held when {other} was handed out"


def _answers_of_miners(database: _Database, notes: Rows) -> Iterator[str]:
    """A receipt is for what one miner posted, and what a miner was told about its answer stays true."""
    posted = defaultdict(list)
    for note in notes:
        if note.get("event") == "posting" and "result" in note:
            posted[note["job_id"], note["attempt"]].append((note["by"], note["result"]))
        elif "event" not in note:
            # A reference miner's: the job, which is also its result.
            result = {name: value for name, value in note.items() if name != "by"}
            posted[note["id"], note["attempt"]].append((note["by"], result))
    for job_id, receipts in database.receipts.items():
        for receipt in receipts:
            receipted = database.names[receipt["miner_id"]], json.loads(receipt["result"])
            if posted[job_id, receipt["attempt"]] != [receipted]:
                yield f"job {job_id}: receipt for {receipted}, posted was {posted[job_id, receipt['attempt']]}"
    for note in notes:
        if note.get("event") == "taken" and note["status"] in ("completed", "failed"):
            job = database.jobs[note["job_id"]]
            if not posted[job["id"], note["attempt"]] and note["receipt_id"] is None:
                # A failure that is answered again finds the job as another miner has ended it since.
                continue
            ids = [receipt["id"] for receipt in database.receipts[job["id"]]]
            if note["status"] != job["status"] or ids != list(filter(None, [note["receipt_id"]])):
                yield f"job {job['id']}: {note['by']} was told {note}, it is {job['status']} with receipts {ids}"


def _words_to_clients(market: Market, database: _Database) -> Iterator[str]:
    """What a client was told stays true."""
    for client in market.clients:
        for job_id, (status, receipt_id) in client.finished.items():
            ids = [receipt["id"] for receipt in database.receipts[job_id]]
            if (database.jobs[job_id]["status"], ids) != (status, [receipt_id] if receipt_id else []):
                yield f"job {job_id}: was {status} with receipt {receipt_id}, became {database.jobs[job_id]}, {ids}"
    cancelled = {job_id for client in market.clients for job_id in client.cancelled}
    asked_to_cancel = {job_id for client in market.clients for job_id in client.asked_to_cancel}
    for job_id, job in database.jobs.items():
        if job["error_code"] == "CANCELLED" and job_id not in asked_to_cancel:
            yield f"job {job_id}: nobody cancelled it"
        if job["error_code"] != "CANCELLED" and job_id in cancelled:
            yield f"job {job_id}: was cancelled, became {job}"


def _answers_of_api(market: Market, database: _Database) -> Iterator[str]:
    """The API shows what the database holds, and every receipt verifies, whether or not its job was acknowledged."""
    get = partial(market.emulator.call, "GET", headers={"X-Api-Key": market.keys["client"]})
    shown, cursor = {}, ""
    while cursor is not None:
        page = get(f"/v1/client/jobs?limit=200{cursor and '&cursor='}{cursor}").json
        shown |= {job["id"]: job["status"] for job in page["items"]}
        cursor = page["next_cursor"]
    if shown != {job_id: job["status"] for job_id, job in database.jobs.items()}:
        yield f"the API lists other jobs than there are: {shown}"
    jwks = get("/.well-known/jwks.json").json
    sent = {job_id: parameters for client in market.clients for job_id, parameters in client.acknowledged.items()}
    for job_id, receipts in database.receipts.items():
        parameters = sent.get(job_id, json.loads(database.jobs[job_id]["parameters"]))
        for receipt in receipts:
            try:
                verify_receipt(receipt, jwks, parameters, json.loads(receipt["result"]))
            except NotVerified as error:
                yield f"job {job_id}: {error}"
    for job_id in market.random.sample(sorted(database.jobs), min(_SAMPLE, len(database.jobs))):
        answer = get(f"/v1/client/jobs/{job_id}/result").json
        held = [(receipt["id"], json.loads(receipt["result"])) for receipt in database.receipts[job_id]]
        got = [(answer["receipt"]["id"], answer["result"])] if answer["receipt"] else []
        if got != held:
            yield f"job {job_id}: the API gives {answer}, the database holds {held}"
