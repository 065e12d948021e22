"""Clients submit jobs, follow them, and fetch results and receipts."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import Connection

from coordinator.core.database import database
from coordinator.core.schemas import Page, PageQuery
from coordinator.http.app import create_app, lambda_handler
from coordinator.http.idempotency import Once, Reply
from coordinator.http.route import Caller, route_for
from coordinator.jobs import service
from coordinator.jobs.schemas import JobCreate, JobRead, JobResultRead, JobStatus, JobStatusRead
from coordinator.receipts.schemas import ReceiptRead
from coordinator.users.keys import Role

router = APIRouter(prefix="/v1/client/jobs", tags=["client"], route_class=route_for(Role.CLIENT))

# Below the 30 s after which API Gateway gives up.
WaitSeconds = Annotated[float, Query(ge=0, le=25, description="How many seconds to wait for a change.")]


class JobsQuery(PageQuery):
    status: JobStatus | None = None
    job_type: str | None = None


@router.post("", status_code=201, response_model=JobRead)
async def submit_job(body: JobCreate, client: Caller, request: Request, once: Once) -> Response:
    """Submit a job."""

    def reply(tx: Connection) -> Reply:
        job = service.submit(tx, client.id, body)
        return Reply(job, headers={"Location": f"{request.scope['root_path']}{router.prefix}/{job.id}"})

    return once.write(reply)


@router.get("")
async def list_jobs(client: Caller, query: Annotated[JobsQuery, Query()]) -> Page[JobRead]:
    """List the client's jobs, newest first."""
    return database().read(lambda tx: service.page(tx, client.id, query, query.status, query.job_type))


@router.get("/{job_id}")
async def get_job(job_id: str, client: Caller) -> JobRead:
    """Get a job."""
    return service.get(client.id, job_id)


@router.get("/{job_id}/status")
async def get_job_status(job_id: str, client: Caller, wait: WaitSeconds = 0) -> JobStatusRead:
    """Get a job's status; with `wait`, as soon as it changes or the time is up."""
    return await service.status(client.id, job_id, wait)


@router.get("/{job_id}/result")
async def get_job_result(job_id: str, client: Caller, wait: WaitSeconds = 0) -> JobResultRead:
    """Get the result of a finished job; with `wait`, as soon as it is finished or the time is up."""
    return await service.result(client.id, job_id, wait)


@router.get("/{job_id}/receipts")
async def list_job_receipts(job_id: str, client: Caller) -> Page[ReceiptRead]:
    """List the receipts of a job."""
    return service.receipts_of(client.id, job_id)


@router.post("/{job_id}/cancel")
async def cancel_job(job_id: str, client: Caller) -> JobRead:
    """Cancel a job that is not finished."""
    return database().write(lambda tx: service.cancel(tx, client.id, job_id))


app = create_app(router)
handler = lambda_handler(app)
