"""Miners register, send heartbeats, lease jobs and post results."""

import coordinator.http.starting  # noqa: F401  (before all else)

# isort: split
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Response
from sqlalchemy import Connection

from coordinator.core.database import database
from coordinator.core.schemas import Id, PageQuery
from coordinator.http.app import create_app, lambda_handler
from coordinator.http.asgi import refuse_head
from coordinator.http.idempotency import Once, Reply
from coordinator.http.responses import errors
from coordinator.http.route import Caller, route_for
from coordinator.jobs import leases, queue, results
from coordinator.jobs.earnings import earnings
from coordinator.jobs.errors import BadSignature, JobCancelled, JobNotFound, LeaseLost, ResultConflict
from coordinator.jobs.lease_schemas import (
    HeartbeatRead,
    PollRead,
    ProgressCreate,
    ProgressRead,
    ResultCreate,
    ResultRead,
)
from coordinator.miners import service
from coordinator.miners.errors import MinerIdRequired, MinerNotFound
from coordinator.miners.schemas import EarningsRead, Heartbeat, MinerRead, MinerRegister
from coordinator.receipts.errors import SigningUnavailable
from coordinator.receipts.keys import publish_signing_key
from coordinator.receipts.pen import Pen
from coordinator.users.keys import Role

router = APIRouter(prefix="/v1/miner", tags=["miner"], route_class=route_for(Role.MINER))

# Plain text for the document too: generated clients put what they are given into the header as it is.
MinerId = Annotated[
    str | None, Header(alias="X-Miner-Id", description="Which miner calls; needed when the key runs several.")
]
JobId = Annotated[Id, Path(description="The assignment's `id`.")]
Limit = Annotated[int, Query(ge=1, le=200, description="How many jobs at most; never more than `concurrency`.")]

_NO_SUCH_MINER = (MinerIdRequired, MinerNotFound)


@router.post(
    "/register",
    status_code=201,
    response_model=MinerRead,
    response_description="The new miner.",
    responses={200: {"model": MinerRead, "description": "The miner that was there, with its old id."}},
)
async def register(body: MinerRegister, owner: Caller, once: Once) -> Response:
    """Register a miner.

    Called again with the same key, address and endpoint it is the same miner with the same id: what it offers is
    replaced, and jobs that it still held go back to the queue.
    """

    def reply(tx: Connection) -> Reply:
        registration = leases.register(tx, owner.id, body)
        return Reply(registration.miner, 201 if registration.created else 200)

    return once.write(reply)


@router.post("/heartbeat", response_description="What the miner holds.", responses=errors(*_NO_SUCH_MINER))
async def heartbeat(owner: Caller, body: Heartbeat | None = None, miner_id: MinerId = None) -> HeartbeatRead:
    """Send a heartbeat.

    Says that the miner lives and renews its leases, all of them or those that it lists. Send one every
    `heartbeat_interval_seconds`; a miner that is silent for `heartbeat_timeout_seconds` loses its leases.
    """
    return database().write(lambda tx: leases.heartbeat(tx, owner.id, miner_id, body or Heartbeat()))


@router.get(
    "/jobs",
    response_description="The jobs that it now holds.",
    responses=errors(*_NO_SUCH_MINER),
    dependencies=[Depends(refuse_head)],
)
async def poll_jobs(owner: Caller, response: Response, limit: Limit = 50, miner_id: MinerId = None) -> PollRead:
    """Lease the next jobs.

    Each job is leased to this miner alone, until its lease ends or is answered. A miner that already holds as many as
    its `concurrency` is told those again, so a lost answer costs nothing. Ask again after `poll_after_seconds`.
    """
    response.headers["Cache-Control"] = "no-store"
    return queue.claim(owner.id, miner_id, limit)


@router.post("/jobs", response_description="The jobs that it now holds.", responses=errors(*_NO_SUCH_MINER))
async def poll_jobs_by_post(owner: Caller, response: Response, limit: Limit = 50, miner_id: MinerId = None) -> PollRead:
    """Lease the next jobs (POST).

    The same as GET, for HTTP clients that repeat or cache a GET by themselves.
    """
    return await poll_jobs(owner, response, limit, miner_id)


@router.post(
    "/jobs/{job_id}/progress",
    response_description="How long it may go on.",
    responses=errors(*_NO_SUCH_MINER, JobNotFound, LeaseLost),
)
async def report_progress(job_id: JobId, body: ProgressCreate, owner: Caller, miner_id: MinerId = None) -> ProgressRead:
    """Report progress.

    Says how far a job is, which its client can see, and renews its lease.
    """
    return database().write(lambda tx: leases.report_progress(tx, owner.id, miner_id, job_id, body))


@router.post(
    "/result",
    status_code=201,
    response_model=ResultRead,
    response_description="The answer is taken.",
    responses=errors(
        *_NO_SUCH_MINER, JobNotFound, JobCancelled, ResultConflict, LeaseLost, BadSignature, SigningUnavailable
    )
    | {200: {"model": ResultRead, "description": "The same answer was taken before."}},
)
async def post_result(body: ResultCreate, owner: Caller, once: Once, miner_id: MinerId = None) -> Response:
    """Post the result of a job.

    The result, or why there is none. The same answer may be sent again: it is taken once, and the receipt is the
    same. An answer that comes after its lease has ended is taken as long as nobody else holds the job and it is not
    finished.
    """
    # Before the first receipt of this environment, so that its key outlives the secret that it comes from.
    publish_signing_key()
    pen = Pen()

    def reply(tx: Connection) -> Reply:
        answered = results.answer(tx, owner.id, miner_id, body, pen)
        return Reply(answered.result, 200 if answered.repeated else 201)

    return pen.write(lambda: once.write(reply))


@router.post("/deregister", response_description="The miner, now inactive.", responses=errors(*_NO_SUCH_MINER))
async def deregister(owner: Caller, miner_id: MinerId = None) -> MinerRead:
    """Take the miner out of service.

    Jobs that it holds go back to the queue. It comes back by registering again.
    """
    return database().write(lambda tx: leases.deregister(tx, owner.id, miner_id))


@router.get("/me", response_description="The miner.", responses=errors(*_NO_SUCH_MINER))
async def get_miner(owner: Caller, miner_id: MinerId = None) -> MinerRead:
    """Get the miner itself.

    As it is registered, and what the coordinator expects of it.
    """
    return database().read(lambda tx: service.get(tx, owner.id, miner_id))


@router.get("/earnings", response_description="A page of earnings.", responses=errors(*_NO_SUCH_MINER))
async def get_earnings(owner: Caller, query: Annotated[PageQuery, Query()], miner_id: MinerId = None) -> EarningsRead:
    """List what the miner has earned, newest first.

    One item for each completed job; the totals are over all pages.
    """
    return database().read(lambda tx: earnings(tx, owner.id, miner_id, query))


app = create_app(router)
handler = lambda_handler(app)
