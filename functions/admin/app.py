"""Operators see all jobs, miners and receipts, and step in."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field

from admin.stats import StatsRead, stats
from coordinator.audit import service as audit
from coordinator.audit.schemas import AuditEntryRead
from coordinator.core.database import database
from coordinator.core.schemas import Id, Page, PageQuery
from coordinator.http.app import create_app, lambda_handler
from coordinator.http.responses import errors
from coordinator.http.route import Caller, route_for
from coordinator.jobs import operations
from coordinator.jobs.errors import JobFinished, JobNotFound
from coordinator.jobs.schemas import JobRead, JobStatus
from coordinator.miners import operations as miners
from coordinator.miners.errors import NoSuchMiner
from coordinator.miners.schemas import MinerOperatorRead, MinerStatus
from coordinator.receipts import service as receipts
from coordinator.receipts.schemas import ReceiptRead
from coordinator.users.keys import Role

router = APIRouter(prefix="/v1/admin", tags=["admin"], route_class=route_for(Role.ADMIN))

JobId = Annotated[Id, Path(description="The job's id.")]
MinerId = Annotated[Id, Path(description="The miner's id.")]


class AllJobsQuery(PageQuery):
    status: JobStatus | None = Field(default=None, description="Only jobs of this status.")
    job_type: str | None = Field(default=None, description="Only jobs of this type.")
    client_id: str | None = Field(default=None, description="Only jobs of this client.")
    miner_id: str | None = Field(default=None, description="Only jobs that this miner runs, or ran when they ended.")


class AllMinersQuery(PageQuery):
    status: MinerStatus | None = Field(default=None, description="Only miners of this status.")


class AllReceiptsQuery(PageQuery):
    miner_id: str | None = Field(default=None, description="Only receipts of this miner.")
    client_id: str | None = Field(default=None, description="Only receipts of this client.")
    job_id: str | None = Field(default=None, description="Only the receipt of this job.")


@router.get("/stats", response_description="The numbers.")
async def get_stats() -> StatsRead:
    """Count what there is.

    All jobs and miners by status, and how long jobs wait and take.
    """
    return database().read(stats)


@router.get("/jobs", response_description="A page of jobs.")
async def list_all_jobs(query: Annotated[AllJobsQuery, Query()]) -> Page[JobRead]:
    """List all clients' jobs, newest first.

    Each as its client sees it. Filters add up. Give `next_cursor` as `cursor` for the next page.
    """
    return database().read(
        lambda tx: operations.page(
            tx,
            query,
            status=query.status,
            job_type=query.job_type,
            client_id=query.client_id,
            miner_id=query.miner_id,
        )
    )


@router.post(
    "/jobs/{job_id}/cancel", response_description="The job, now failed.", responses=errors(JobNotFound, JobFinished)
)
async def cancel_any_job(job_id: JobId, admin: Caller) -> JobRead:
    """Cancel any client's job.

    It fails with `CANCELLED`, and its miner learns of it with its next call. Cancelling it again changes nothing.
    """
    return database().write(lambda tx: operations.cancel(tx, admin.id, job_id))


@router.post(
    "/jobs/{job_id}/requeue", response_description="The job, now pending.", responses=errors(JobNotFound, JobFinished)
)
async def requeue_job(job_id: JobId, admin: Caller) -> JobRead:
    """Put a job back into the queue.

    A running job is taken from its miner; a failed one waits anew, with all of its time to live. When its attempts are
    used up it gets one more. A job that waits already stays as it is, and a completed one can't be put back.
    """
    return database().write(lambda tx: operations.requeue(tx, admin.id, job_id))


@router.get("/miners", response_description="A page of miners.")
async def list_miners(query: Annotated[AllMinersQuery, Query()]) -> Page[MinerOperatorRead]:
    """List all miners, newest first.

    Each as it sees itself, with its owner and what it reported last. Give `next_cursor` as `cursor` for the next page.
    """
    return database().read(lambda tx: miners.page(tx, query, query.status))


@router.post(
    "/miners/{miner_id}/disable", response_description="The miner, now disabled.", responses=errors(NoSuchMiner)
)
async def disable_miner(miner_id: MinerId, admin: Caller) -> MinerOperatorRead:
    """Disable a miner.

    All its calls are refused with a 403 until it is enabled, and jobs that it holds go back to the queue. Other miners
    of its key go on. Disabling it again changes nothing.
    """
    return database().write(lambda tx: operations.disable_miner(tx, admin.id, miner_id))


@router.post("/miners/{miner_id}/enable", response_description="The miner, now enabled.", responses=errors(NoSuchMiner))
async def enable_miner(miner_id: MinerId, admin: Caller) -> MinerOperatorRead:
    """Let a disabled miner work again.

    It is active as soon as it asks for jobs or sends a heartbeat. Enabling it again changes nothing.
    """
    return database().write(lambda tx: operations.enable_miner(tx, admin.id, miner_id))


@router.get("/receipts", response_description="A page of receipts.")
async def list_receipts(query: Annotated[AllReceiptsQuery, Query()]) -> Page[ReceiptRead]:
    """List all receipts, newest first.

    Filters add up. Give `next_cursor` as `cursor` for the next page.
    """
    return database().read(
        lambda tx: receipts.page(tx, query, miner_id=query.miner_id, client_id=query.client_id, job_id=query.job_id)
    )


@router.get("/audit", response_description="A page of changes.")
async def list_audit(query: Annotated[PageQuery, Query()]) -> Page[AuditEntryRead]:
    """List the changes that admins have made, newest first.

    Each was written together with its change, and stays. Calls that changed nothing are not among them.
    """
    return database().read(lambda tx: audit.page(tx, query))


app = create_app(router)
handler = lambda_handler(app)
