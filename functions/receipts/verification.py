"""Anyone may have a receipt verified."""

from fastapi import APIRouter

from coordinator.http.route import PublicRoute
from coordinator.receipts.proof_schemas import VerificationCreate, VerificationRead
from coordinator.receipts.verification import verify

router = APIRouter(prefix="/v1/receipts", tags=["receipts"], route_class=PublicRoute)


@router.post("/verify", response_description="What became of each check.")
async def verify_receipt(body: VerificationCreate) -> VerificationRead:
    """Verify a receipt.

    Checks its signature, that this coordinator has issued it, and that the transparency log has it; with `result` and
    `parameters`, also that it is about these. What is no receipt at all is not valid, and no error. Nobody needs to
    trust this answer: with the published keys a receipt is verified offline.
    """
    return verify(body)
