"""Operators see all jobs, miners, users and receipts, and step in."""

import coordinator.http.starting  # noqa: F401  (before all else)

# isort: split
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field
from sqlalchemy import Connection

from admin.stats import StatsRead, stats
from coordinator.audit import service as audit
from coordinator.audit.schemas import AuditEntryRead
from coordinator.core.database import database
from coordinator.core.schemas import Id, Page, PageQuery
from coordinator.http.app import create_app, lambda_handler
from coordinator.http.idempotency import Once, Reply
from coordinator.http.responses import errors
from coordinator.http.route import Caller, route_for
from coordinator.jobs import operations
from coordinator.jobs.errors import JobFinished, JobNotFound
from coordinator.jobs.models import JobStatus
from coordinator.jobs.schemas import JobRead
from coordinator.ledger import operations as ledger
from coordinator.ledger.errors import InsufficientFunds, NoSuchUser
from coordinator.ledger.schemas import Adjustment, UserOperatorRead
from coordinator.miners import operations as miners
from coordinator.miners.errors import NoSuchMiner
from coordinator.miners.operations import MinerOperatorRead
from coordinator.miners.schemas import MinerStatus
from coordinator.payments import service as payments
from coordinator.payments.schemas import PaymentRead, PaymentStatus
from coordinator.receipts import service as receipts
from coordinator.receipts.schemas import ReceiptRead
from coordinator.users.keys import Role

router = APIRouter(prefix="/v1/admin", tags=["admin"], route_class=route_for(Role.ADMIN))

JobId = Annotated[Id, Path(description="The job's id.")]
MinerId = Annotated[Id, Path(description="The miner's id.")]
UserId = Annotated[Id, Path(description="The user's id.")]


class AllJobsQuery(PageQuery):
    status: JobStatus | None = Field(default=None, description="Only jobs of this status.")
    job_type: str | None = Field(default=None, description="Only jobs of this type.")
    client_id: str | None = Field(default=None, description="Only jobs of this client.")
    miner_id: str | None = Field(default=None, description="Only jobs that this miner runs, or ran when they ended.")


class AllMinersQuery(PageQuery):
    status: MinerStatus | None = Field(default=None, description="Only miners of this status.")


class AllPaymentsQuery(PageQuery):
    status: PaymentStatus | None = Field(default=None, description="Only payments of this status.")
    user_id: str | None = Field(default=None, description="Only payments of this user.")


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
    "/jobs/{job_id}/requeue",
    response_description="The job, now pending.",
    responses=errors(JobNotFound, JobFinished, InsufficientFunds),
)
async def requeue_job(job_id: JobId, admin: Caller) -> JobRead:
    """Put a job back into the queue.

    A running job is taken from its miner; a failed one waits anew, with all of its time to live. When its attempts are
    used up it gets one more. A job that waits already stays as it is, and a completed one can't be put back. The price
    of a failed one is held once more, if its user's balance covers it.
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


@router.get("/users", response_description="A page of users.")
async def list_users(query: Annotated[PageQuery, Query()]) -> Page[UserOperatorRead]:
    """List all users with their balances, newest first.

    A user is there from the first login, or from the first pay to the wallet. Give `next_cursor` as `cursor` for the
    next page.
    """
    return database().read(lambda tx: ledger.page(tx, query))


@router.post(
    "/users/{user_id}/adjust",
    status_code=201,
    response_model=UserOperatorRead,
    response_description="The user, with the new balance.",
    responses=errors(NoSuchUser, InsufficientFunds),
)
async def adjust_user(user_id: UserId, body: Adjustment, admin: Caller, once: Once) -> Response:
    """Adjust a user's balance.

    Adds the amount, or takes it away if it is negative; no more can be taken than is available. Sent again with the
    same `Idempotency-Key`, it is done once.
    """

    def reply(tx: Connection) -> Reply:
        return Reply(ledger.adjust(tx, admin.id, user_id, body))

    return once.write(reply)


@router.get("/payments", response_description="A page of payments.")
async def list_all_payments(query: Annotated[AllPaymentsQuery, Query()]) -> Page[PaymentRead]:
    """List all users' payments, newest first.

    Each as its user sees it. Filters add up. Give `next_cursor` as `cursor` for the next page.
    """
    return database().read(lambda tx: payments.page(tx, query, user_id=query.user_id, status=query.status))


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
