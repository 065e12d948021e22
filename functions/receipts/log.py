"""The transparency log of receipts, for everybody."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from coordinator.core.schemas import Id
from coordinator.http.responses import errors
from coordinator.http.route import PublicRoute
from coordinator.receipts import proofs
from coordinator.receipts.errors import InvalidRange, ReceiptNotFound, ReceiptNotLogged, SigningUnavailable
from coordinator.receipts.proof_schemas import CheckpointRead, ConsistencyRead, InclusionRead

router = APIRouter(prefix="/v1/receipts", tags=["receipts"], route_class=PublicRoute)

ReceiptId = Annotated[Id, Path(description="The receipt's id.")]
TreeSize = Annotated[
    int | None,
    Query(ge=1, le=2**53 - 1, description="That of an earlier checkpoint, to prove it under; else under the latest."),
]
From = Annotated[int, Query(alias="from", ge=0, description="The size of the older checkpoint.")]
To = Annotated[int, Query(ge=0, description="The size of the newer checkpoint.")]


@router.get("/checkpoint", response_description="The checkpoint.", responses=errors(SigningUnavailable))
async def get_checkpoint() -> CheckpointRead:
    """Get the log's latest checkpoint.

    It covers all receipts that were issued before this call, unless very many wait. Keep it: with the answer of
    `/v1/receipts/consistency` it proves later that no receipt was changed, removed or put into another order.
    """
    return proofs.newest_checkpoint()


@router.get("/consistency", response_description="The proof.", responses=errors(InvalidRange))
async def get_consistency(older: From, to: To) -> ConsistencyRead:
    """Prove that the log has only grown.

    From the checkpoint of one size to that of another: the larger log begins with all receipts of the smaller one, in
    their order.
    """
    return proofs.consistency(older, to)


@router.get(
    "/{receipt_id}/inclusion",
    response_description="The proof.",
    responses=errors(ReceiptNotFound, ReceiptNotLogged, InvalidRange, SigningUnavailable),
)
async def get_inclusion(receipt_id: ReceiptId, tree_size: TreeSize = None) -> InclusionRead:
    """Prove that the log has a receipt.

    Whoever knows its id may ask, as the proof says nothing of what the receipt is about. One that was issued a moment
    ago is taken into the log there and then.
    """
    return proofs.inclusion(receipt_id, tree_size)
