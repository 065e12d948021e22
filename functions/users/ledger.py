"""What users have and how it came to be."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from coordinator.core.database import database
from coordinator.core.schemas import Id, Page, PageQuery
from coordinator.http.responses import errors
from coordinator.http.route import route_for_user_or_admin
from coordinator.ledger import service
from coordinator.ledger.errors import NoSuchUser
from coordinator.ledger.schemas import BalanceRead, TransactionRead

router = APIRouter(prefix="/v1/users", tags=["users"], route_class=route_for_user_or_admin())

UserId = Annotated[Id, Path(description="The user's id.")]


@router.get("/{user_id}/balance", response_description="The balance.", responses=errors(NoSuchUser))
async def get_balance(user_id: UserId) -> BalanceRead:
    """Get a user's balance.

    What is available, and what is held for jobs that are not finished.
    """
    return database().read(lambda tx: service.balance(tx, user_id))


@router.get("/{user_id}/transactions", response_description="A page of transactions.", responses=errors(NoSuchUser))
async def list_transactions(user_id: UserId, query: Annotated[PageQuery, Query()]) -> Page[TransactionRead]:
    """List how a user's available balance came to be, newest first.

    All amounts together are the available balance. Give `next_cursor` as `cursor` for the next page.
    """
    return database().read(lambda tx: service.transactions(tx, user_id, query))
