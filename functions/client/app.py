"""Clients submit jobs, follow them, and fetch results and receipts."""

import coordinator.http.starting  # noqa: F401  (before all else)

# isort: split
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field
from sqlalchemy import Connection

from coordinator.core.database import database
from coordinator.core.schemas import Id, Page, PageQuery
from coordinator.http.app import create_app, lambda_handler
from coordinator.http.idempotency import Once, Reply
from coordinator.http.responses import LOCATION, errors
from coordinator.http.route import Caller, route_for
from coordinator.jobs import service
from coordinator.jobs.errors import InvalidJobType, JobFinished, JobNotFound, JobNotReady
from coordinator.jobs.models import JobStatus
from coordinator.jobs.schemas import JobCreate, JobRead, JobResultRead, JobStatusRead
from coordinator.ledger.errors import InsufficientFunds
from coordinator.receipts.schemas import ReceiptRead
from coordinator.users.keys import Role

router = APIRouter(prefix="/v1/client/jobs", tags=["client"], route_class=route_for(Role.CLIENT))

JobId = Annotated[Id, Path(description="The job's id.")]
# Below the 30 s after which API Gateway gives up.
WaitSeconds = Annotated[float, Query(ge=0, le=25, description="How long to wait for a change, in seconds.")]


class JobsQuery(PageQuery):
    status: JobStatus | None = Field(default=None, description="Only jobs of this status.")
    job_type: str | None = Field(default=None, description="Only jobs of this type.")


@router.post(
    "",
    status_code=201,
    response_model=JobRead,
    response_description="The new job.",
    responses=errors(InvalidJobType, InsufficientFunds) | {201: {"headers": LOCATION}},
)
async def submit_job(body: JobCreate, client: Caller, request: Request, once: Once) -> Response:
    """Submit a job.

    It is pending until a miner that meets its constraints takes it. A `max_price`, which only keys of users may set, is
    held of the user's balance until the job is finished; then the miner is paid its price, and the rest is available
    again. `Location` is the job's address. A call that got no answer may have made the job: sent again with the same
    `Idempotency-Key`, it makes no second one.
    """

    def reply(tx: Connection) -> Reply:
        job = service.submit(tx, client.id, body, user_id=client.user_id)
        return Reply(job.read, headers={"Location": f"{request.scope['root_path']}{router.prefix}/{job.id}"})

    return once.write(reply)


@router.get("", response_description="A page of jobs.")
async def list_jobs(client: Caller, query: Annotated[JobsQuery, Query()]) -> Page[JobRead]:
    """List jobs, newest first.

    They are those that were submitted with this key. Give `next_cursor` as `cursor` for the next page.
    """
    return database().read(lambda tx: service.page(tx, client.id, query, query.status, query.job_type))


@router.get("/{job_id}", response_description="The job.", responses=errors(JobNotFound))
async def get_job(job_id: JobId, client: Caller) -> JobRead:
    """Get a job.

    The whole job as it is now, but for its result, which has a call of its own.
    """
    return service.get(client.id, job_id)


@router.get("/{job_id}/status", response_description="The job's status.", responses=errors(JobNotFound))
async def get_job_status(job_id: JobId, client: Caller, wait: WaitSeconds = 0) -> JobStatusRead:
    """Get a job's status.

    With `wait` the answer comes as soon as the status changes, at the latest when the time is up.
    """
    return await service.status(client.id, job_id, wait)


@router.get("/{job_id}/result", response_description="How it ended.", responses=errors(JobNotFound, JobNotReady))
async def get_job_result(job_id: JobId, client: Caller, wait: WaitSeconds = 0) -> JobResultRead:
    """Get a job's result and receipt.

    Until the job is finished the answer is a 425; with `wait` it comes as soon as the job is finished, at the latest
    when the time is up. A failed job has an `error` instead of a result.
    """
    return await service.result(client.id, job_id, wait)


@router.get("/{job_id}/receipts", response_description="The receipts.", responses=errors(JobNotFound))
async def list_job_receipts(job_id: JobId, client: Caller) -> Page[ReceiptRead]:
    """List the receipts of a job.

    One once it is completed, none before, and none if it fails. What verifies them is at `/.well-known/jwks.json`.
    """
    return service.receipts_of(client.id, job_id)


@router.post(
    "/{job_id}/cancel", response_description="The job, now failed.", responses=errors(JobNotFound, JobFinished)
)
async def cancel_job(job_id: JobId, client: Caller) -> JobRead:
    """Cancel a job.

    It fails with `CANCELLED`, and its miner learns of it with its next call. Cancelling it again changes nothing.
    """
    return database().write(lambda tx: service.cancel(tx, client.id, job_id))


app = create_app(router)
handler = lambda_handler(app)
