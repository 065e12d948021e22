"""Miners register, send heartbeats, lease jobs and post results."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from sqlalchemy import Connection

from coordinator.core.database import database
from coordinator.core.schemas import PageQuery
from coordinator.http.app import create_app, lambda_handler
from coordinator.http.idempotency import Once, Reply
from coordinator.http.route import Caller, route_for
from coordinator.jobs import leases, queue, results
from coordinator.jobs.earnings import earnings
from coordinator.jobs.schemas import (
    HeartbeatRead,
    PollRead,
    ProgressCreate,
    ProgressRead,
    ResultCreate,
    ResultRead,
)
from coordinator.miners import service
from coordinator.miners.schemas import EarningsRead, Heartbeat, MinerRead, MinerRegister
from coordinator.receipts.service import publish_signing_key
from coordinator.users.keys import Role

router = APIRouter(prefix="/v1/miner", tags=["miner"], route_class=route_for(Role.MINER))

MinerId = Annotated[
    str | None, Header(alias="X-Miner-Id", description="Which miner calls; needed when the key runs several.")
]
Limit = Annotated[int, Query(ge=1, le=200, description="How many jobs at most; never more than `concurrency`.")]


@router.post("/register", status_code=201, response_model=MinerRead, responses={200: {"model": MinerRead}})
async def register(body: MinerRegister, owner: Caller, once: Once) -> Response:
    """Register a miner, or register it again: same id, its old leases go back to the queue."""

    def reply(tx: Connection) -> Reply:
        registration = leases.register(tx, owner.id, body)
        return Reply(registration.miner, 201 if registration.created else 200)

    return once.write(reply)


@router.post("/heartbeat")
async def heartbeat(owner: Caller, body: Heartbeat | None = None, miner_id: MinerId = None) -> HeartbeatRead:
    """Say that the miner lives; renews its leases."""
    return database().write(lambda tx: leases.heartbeat(tx, owner.id, miner_id, body or Heartbeat()))


@router.get("/jobs")
async def poll_jobs(owner: Caller, response: Response, limit: Limit = 50, miner_id: MinerId = None) -> PollRead:
    """Lease the next jobs; `poll_after_seconds` says when to ask again."""
    response.headers["Cache-Control"] = "no-store"
    return database().write(lambda tx: queue.poll(tx, owner.id, miner_id, limit))


@router.post("/jobs")
async def poll_jobs_by_post(owner: Caller, response: Response, limit: Limit = 50, miner_id: MinerId = None) -> PollRead:
    """Lease the next jobs; the same as GET, for clients that won't repeat a POST."""
    return await poll_jobs(owner, response, limit, miner_id)


@router.post("/jobs/{job_id}/progress")
async def report_progress(job_id: str, body: ProgressCreate, owner: Caller, miner_id: MinerId = None) -> ProgressRead:
    """Report how far a job is; renews its lease."""
    return database().write(lambda tx: leases.report_progress(tx, owner.id, miner_id, job_id, body))


@router.post(
    "/result",
    status_code=201,
    response_model=ResultRead,
    responses={200: {"model": ResultRead, "description": "Posted before"}},
)
async def post_result(body: ResultCreate, owner: Caller, once: Once, miner_id: MinerId = None) -> Response:
    """Post the result of a job, or why it failed."""
    # Before the first receipt of this environment, so that its key outlives the secret that it comes from.
    publish_signing_key()

    def reply(tx: Connection) -> Reply:
        answered = results.answer(tx, owner.id, miner_id, body)
        return Reply(answered.result, 200 if answered.repeated else 201)

    return once.write(reply)


@router.post("/deregister")
async def deregister(owner: Caller, miner_id: MinerId = None) -> MinerRead:
    """Take the miner out of service; its leases go back to the queue."""
    return database().write(lambda tx: leases.deregister(tx, owner.id, miner_id))


@router.get("/me")
async def get_miner(owner: Caller, miner_id: MinerId = None) -> MinerRead:
    """Get the miner itself."""
    return database().read(lambda tx: service.get(tx, owner.id, miner_id))


@router.get("/earnings")
async def get_earnings(owner: Caller, query: Annotated[PageQuery, Query()], miner_id: MinerId = None) -> EarningsRead:
    """List what the miner has earned, newest first."""
    return database().read(lambda tx: earnings(tx, owner.id, miner_id, query))


app = create_app(router)
handler = lambda_handler(app)
