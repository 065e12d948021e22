"""Operators see all jobs, miners and receipts, and step in."""

from typing import Annotated

from fastapi import APIRouter, Query

from admin.stats import StatsRead, stats
from coordinator.audit import service as audit
from coordinator.audit.schemas import AuditEntryRead
from coordinator.core.database import database
from coordinator.core.schemas import Page, PageQuery
from coordinator.http.app import create_app, lambda_handler
from coordinator.http.route import Caller, route_for
from coordinator.jobs import operations
from coordinator.jobs.schemas import JobRead, JobStatus
from coordinator.miners import operations as miners
from coordinator.miners.schemas import MinerOperatorRead, MinerStatus
from coordinator.receipts import service as receipts
from coordinator.receipts.schemas import ReceiptRead
from coordinator.users.keys import Role

router = APIRouter(prefix="/v1/admin", tags=["admin"], route_class=route_for(Role.ADMIN))


class AllJobsQuery(PageQuery):
    status: JobStatus | None = None
    job_type: str | None = None
    client_id: str | None = None
    miner_id: str | None = None


class AllMinersQuery(PageQuery):
    status: MinerStatus | None = None


class AllReceiptsQuery(PageQuery):
    miner_id: str | None = None
    client_id: str | None = None
    job_id: str | None = None


@router.get("/stats")
async def get_stats() -> StatsRead:
    """Count what there is; with millions of jobs this takes a second or so."""
    return database().read(stats)


@router.get("/jobs")
async def list_all_jobs(query: Annotated[AllJobsQuery, Query()]) -> Page[JobRead]:
    """List all clients' jobs, newest first."""
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


@router.post("/jobs/{job_id}/cancel")
async def cancel_any_job(job_id: str, admin: Caller) -> JobRead:
    """Cancel a job that is not finished."""
    return database().write(lambda tx: operations.cancel(tx, admin.id, job_id))


@router.post("/jobs/{job_id}/requeue")
async def requeue_job(job_id: str, admin: Caller) -> JobRead:
    """Take a job from its miner, or a failed one from its end, back to the queue."""
    return database().write(lambda tx: operations.requeue(tx, admin.id, job_id))


@router.get("/miners")
async def list_miners(query: Annotated[AllMinersQuery, Query()]) -> Page[MinerOperatorRead]:
    """List all miners, newest first."""
    return database().read(lambda tx: miners.page(tx, query, query.status))


@router.post("/miners/{miner_id}/disable")
async def disable_miner(miner_id: str, admin: Caller) -> MinerOperatorRead:
    """Refuse all calls of a miner; its leases go back to the queue."""
    return database().write(lambda tx: operations.disable_miner(tx, admin.id, miner_id))


@router.post("/miners/{miner_id}/enable")
async def enable_miner(miner_id: str, admin: Caller) -> MinerOperatorRead:
    """Let a disabled miner work again."""
    return database().write(lambda tx: operations.enable_miner(tx, admin.id, miner_id))


@router.get("/receipts")
async def list_receipts(query: Annotated[AllReceiptsQuery, Query()]) -> Page[ReceiptRead]:
    """List all receipts, newest first."""
    return database().read(
        lambda tx: receipts.page(tx, query, miner_id=query.miner_id, client_id=query.client_id, job_id=query.job_id)
    )


@router.get("/audit")
async def list_audit(query: Annotated[PageQuery, Query()]) -> Page[AuditEntryRead]:
    """List the changes that admins have made, newest first."""
    return database().read(lambda tx: audit.page(tx, query))


app = create_app(router)
handler = lambda_handler(app)
