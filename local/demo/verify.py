"""Checks a receipt offline: with the published keys, and with what the client itself has sent and received."""

from collections.abc import Mapping
from typing import Any

from aitbc_verify.errors import NotVerified
from aitbc_verify.receipts import is_signed_by_miner, require_hash, require_same, verified_statement

__all__ = ["NotVerified", "verify_receipt"]


def verify_receipt(receipt: Mapping[str, Any], jwks: Mapping[str, Any], parameters: Any, result: Any) -> dict[str, Any]:
    """Verifies all that a receipt says, and gives the statement that its proof signs.

    Args:
        receipt: as the API gave it.
        jwks: the coordinator's public keys (RFC 7517).
        parameters: what the client has sent with the job.
        result: what the client has received.

    Raises:
        NotVerified: the signature is wrong, or the statement is about something else.
    """
    statement = verified_statement(str(receipt["proof"]), jwks)
    require_same(statement, receipt)
    require_hash(statement, "parameters", parameters)
    require_hash(statement, "result", result)
    is_signed_by_miner(statement)
    return statement
