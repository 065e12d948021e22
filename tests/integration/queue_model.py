"""What the contract says of jobs, leases and miners, said once more as plainly as possible: lists, and a clock."""

from dataclasses import dataclass, field
from typing import Any

LEASE_SECONDS = 60
SILENCE_SECONDS = 90

# What a call is answered: a status, with the code of the error if it is one.
Verdict = int | tuple[int, str]
FORBIDDEN = (403, "FORBIDDEN")
MINER_ID_REQUIRED = (400, "MINER_ID_REQUIRED")
MINER_NOT_FOUND = (404, "MINER_NOT_FOUND")
JOB_NOT_FOUND = (404, "JOB_NOT_FOUND")
JOB_FINISHED = (409, "JOB_FINISHED")
JOB_CANCELLED = (409, "JOB_CANCELLED")
LEASE_LOST = (409, "LEASE_LOST")
RESULT_CONFLICT = (409, "RESULT_CONFLICT")
BAD_SIGNATURE = (422, "BAD_SIGNATURE")
JOB_NOT_READY = (425, "JOB_NOT_READY")


@dataclass(eq=False, repr=False)
class Miner:
    key: str
    id: str
    address: str
    # The body it registered with last.
    asked: dict[str, Any] = field(default_factory=dict)
    registered: bool = False
    active: bool = False
    disabled: bool = False
    heard: int = 0

    def __repr__(self) -> str:
        return f"<miner {self.address}>"

    def serves(self, job: "Job") -> bool:
        wanted = job.asked["constraints"]
        return (
            self.asked["price"] == "0"
            and wanted.get("region") in (None, self.asked["region"])
            and any(
                job.asked["job_type"] == capability["job_type"]
                and set(wanted.get("models", [])) <= set(capability["models"])
                for capability in self.asked["capabilities"]
            )
        )


@dataclass(eq=False, repr=False)
class Lease:
    job: "Job"
    miner: Miner
    attempt: int
    token: str
    expires: int
    deadline: int
    progress: dict[str, Any]
    live: bool = True
    cancelled: int | None = None
    # The answer that was accepted by it.
    answer: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"<lease {self.attempt} of {self.job} to {self.miner}>"


@dataclass(eq=False, repr=False)
class Job:
    client: str
    id: str
    asked: dict[str, Any]
    submitted: int
    expires: int
    status: str = "pending"
    error: str | None = None
    # With its time to live given anew.
    requeued: bool = False
    leases: list[Lease] = field(default_factory=list)
    completed_by: Lease | None = None

    def __repr__(self) -> str:
        return f"<job {self.asked['parameters']['number']}>"

    @property
    def finished(self) -> bool:
        return self.status in ("completed", "failed")

    @property
    def lease(self) -> Lease | None:
        return next((lease for lease in self.leases if lease.live), None)

    def fail(self, code: str) -> None:
        self.status, self.error = "failed", code

    def give_back(self, code: str) -> None:
        """To the queue while attempts last, else failed for the reason given."""
        if len(self.leases) < self.asked["max_attempts"]:
            self.status = "pending"
        else:
            self.fail(code)


class Queue:
    """The state that the coordinator must be in; every method is a call and gives the answer it must get."""

    def __init__(self) -> None:
        self.now = 0
        # In the order in which they came.
        self.jobs: list[Job] = []
        self.miners: list[Miner] = []
        # What operators changed, in the words of the audit.
        self.changes: list[tuple[str, str]] = []

    @property
    def leases(self) -> list[Lease]:
        return [lease for job in self.jobs for lease in job.leases]

    # What the clock does. Until somebody sweeps, whatever is overdue may have been ended or not.

    def is_overdue(self, job: Job) -> bool:
        return not job.finished and (job.expires <= self.now or self._has_expired(job.lease))

    def is_silent(self, miner: Miner) -> bool:
        return miner.active and miner.heard + SILENCE_SECONDS <= self.now

    def _is_over(self, job: Job) -> bool:
        return job.finished or job.expires <= self.now

    def _has_expired(self, lease: Lease | None) -> bool:
        return lease is not None and lease.expires <= self.now

    def end_job(self, job: Job) -> None:
        self._end_lease(job.lease)
        job.fail("EXPIRED")

    def end_lease(self, lease: Lease) -> None:
        self._end_lease(lease)
        lease.job.give_back("ATTEMPTS_EXHAUSTED")

    def give_up(self, miner: Miner) -> None:
        miner.active = False
        self._release_all(miner)

    def sweep(self) -> dict[str, int]:
        swept = {"expired_jobs": 0, "expired_leases": 0, "silent_miners": 0, "forgotten_answers": 0}
        for job in self.jobs:
            if not job.finished and job.expires <= self.now:
                self.end_job(job)
                swept["expired_jobs"] += 1
            elif job.lease is not None and self._has_expired(job.lease):
                self.end_lease(job.lease)
                swept["expired_leases"] += 1
        for miner in self.miners:
            if self.is_silent(miner):
                self.give_up(miner)
                swept["silent_miners"] += 1
        return swept

    # Clients.

    def submit(self, client: str, job_id: str, asked: dict[str, Any]) -> Job:
        job = Job(client, job_id, asked, self.now, expires=self.now + asked["ttl_seconds"])
        self.jobs.append(job)
        return job

    def read(self, client: str, job: Job) -> Verdict:
        return 200 if client == job.client else JOB_NOT_FOUND

    def eligible_miners(self, job: Job) -> int:
        return sum(miner.active and not self.is_silent(miner) and miner.serves(job) for miner in self.miners)

    def result(self, client: str, job: Job) -> Verdict:
        if client != job.client:
            return JOB_NOT_FOUND
        return 200 if job.finished else JOB_NOT_READY

    def cancel(self, client: str, job: Job) -> Verdict:
        return self._cancel(job) if client == job.client else JOB_NOT_FOUND

    def _cancel(self, job: Job) -> Verdict:
        if self._is_over(job) and job.error != "CANCELLED":
            return JOB_FINISHED
        if job.lease is not None:
            job.lease.cancelled = self.now
        self._end_lease(job.lease)
        job.fail("CANCELLED")
        return 200

    # Operators. Whatever changes nothing is answered the same and leaves no trace.

    def cancel_any(self, job: Job) -> Verdict:
        if not self._is_over(job):
            self.changes.append(("job.cancel", job.id))
        return self._cancel(job)

    def requeue(self, job: Job) -> Verdict:
        if job.status == "completed":
            return JOB_FINISHED
        over = self._is_over(job)
        if over or job.lease is not None:
            self.changes.append(("job.requeue", job.id))
            self._end_lease(job.lease)
            job.status, job.error = "pending", None
            job.asked["max_attempts"] = max(job.asked["max_attempts"], len(job.leases) + 1)
        if over:
            job.expires, job.requeued = self.now + job.asked["ttl_seconds"], True
        return 200

    def disable(self, miner: Miner) -> None:
        if not miner.disabled:
            self.changes.append(("miner.disable", miner.id))
            self._release_all(miner)
            miner.disabled, miner.active = True, False

    def enable(self, miner: Miner) -> None:
        if miner.disabled:
            self.changes.append(("miner.enable", miner.id))
            miner.disabled = False

    # Miners.

    def acting(self, key: str, named: Miner | None, *, registered: bool = True) -> Miner | Verdict:
        """The miner that a call speaks for; unnamed it must be the only one of its key."""
        own = [miner for miner in self.miners if miner.key == key and named in (None, miner)]
        # Those that were retired count only where there is no other.
        own = [miner for miner in own if miner.registered] or own
        if len(own) > 1:
            return MINER_ID_REQUIRED
        if not own or (registered and not own[0].registered):
            return MINER_NOT_FOUND
        return FORBIDDEN if own[0].disabled else own[0]

    def register(self, miner: Miner, asked: dict[str, Any]) -> Verdict:
        if miner.disabled:
            return FORBIDDEN
        known = miner in self.miners
        if not known:
            self.miners.append(miner)
        self._release_all(miner)
        miner.asked, miner.registered, miner.active, miner.heard = asked, True, True, self.now
        return 200 if known else 201

    def deregister(self, miner: Miner) -> None:
        self._release_all(miner)
        miner.registered = miner.active = False

    def heartbeat(self, miner: Miner, inflight: list[str] | None) -> None:
        miner.active, miner.heard = True, self.now
        for lease in self.held(miner):
            if inflight is None or lease.job.id in inflight:
                self._renew(lease)

    def held(self, miner: Miner) -> list[Lease]:
        return [job.lease for job in self.jobs if job.lease is not None and job.lease.miner is miner]

    def due(self, miner: Miner, limit: int) -> list[Job]:
        """The jobs that a poll must lease to this miner, in their order."""
        self.sweep()
        if not miner.active:
            miner.active, miner.heard = True, self.now
        free = miner.asked["concurrency"] - len(self.held(miner))
        waiting = [job for job in self.jobs if job.status == "pending" and miner.serves(job)]
        waiting.sort(key=lambda job: -job.asked["priority"])
        return waiting[: min(limit, free)]

    def lease(self, miner: Miner, job: Job, token: str) -> Lease:
        deadline = self.now + job.asked["timeout_seconds"]
        expires = min(self.now + LEASE_SECONDS, deadline)
        unprogressed = {"percent": 0.0, "message": None}
        lease = Lease(job, miner, len(job.leases) + 1, token, expires, deadline, unprogressed)
        job.leases.append(lease)
        job.status = "running"
        return lease

    def lease_of(self, who: Miner | Verdict, job: Job, token: str | None) -> Lease | Verdict:
        """The lease that a miner speaks of: the one with its token, else its latest of this job."""
        if not isinstance(who, Miner):
            return who
        own = [lease for lease in job.leases if lease.miner is who]
        if not own:
            return JOB_NOT_FOUND
        named = [lease for lease in own if token in (None, lease.token)]
        return named[-1] if named else LEASE_LOST

    def progress(self, lease: Lease, progress: dict[str, Any]) -> Verdict:
        if lease.cancelled is not None:
            return 200
        if not lease.live or self._is_over(lease.job):
            return LEASE_LOST
        lease.progress = progress
        self._renew(lease)
        return 200

    def answer(self, lease: Lease, answer: dict[str, Any], *, signed: bool) -> Verdict:
        job = lease.job
        if lease.answer is not None:
            return 200 if lease.answer == answer else RESULT_CONFLICT
        if job.error == "CANCELLED":
            return JOB_CANCELLED
        # A cancelled lease outlives its job's cancellation when the job is requeued.
        foreign = job.lease is not None and job.lease.miner is not lease.miner and not self._has_expired(job.lease)
        if self._is_over(job) or foreign or lease.cancelled is not None:
            return LEASE_LOST
        if not signed:
            return BAD_SIGNATURE
        self._end_lease(job.lease)
        lease.answer = answer
        if answer["status"] == "completed":
            job.status, job.completed_by = "completed", lease
        elif answer["error"]["retryable"]:
            job.give_back(answer["error"]["code"])
        else:
            job.fail(answer["error"]["code"])
        return 201

    def _renew(self, lease: Lease) -> None:
        lease.expires = min(self.now + LEASE_SECONDS, lease.deadline)

    def _release_all(self, miner: Miner) -> None:
        for lease in self.held(miner):
            self.end_lease(lease)

    def _end_lease(self, lease: Lease | None) -> None:
        if lease is not None:
            lease.live = False
