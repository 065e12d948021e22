"""Verifying a receipt for whoever asks, by the code that anyone can run himself (`aitbc_verify`)."""

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from sqlalchemy import select

from aitbc_verify.errors import NotVerified
from aitbc_verify.log import verified_inclusion
from aitbc_verify.receipts import require_hash, verified_statement
from coordinator.core.database import database
from coordinator.receipts import proofs
from coordinator.receipts.errors import ReceiptNotLogged, SigningUnavailable
from coordinator.receipts.keys import published_keys
from coordinator.receipts.models import receipts
from coordinator.receipts.proof_schemas import VerificationChecks, VerificationCreate, VerificationRead

T = TypeVar("T")


def verify(body: VerificationCreate) -> VerificationRead:
    """Checks all that can be checked of a proof and of what came with it."""
    findings = _Findings()
    statement = findings.check("signature", lambda: verified_statement(body.proof, {"keys": published_keys()}))
    if statement is None:
        # What was not signed here was not issued here; and it states nothing that the rest could be compared with.
        findings.checks.known = False
        return findings.read(None)
    receipt_id: str = statement["sub"]
    if findings.check("known", lambda: _require_known(receipt_id, body.proof)):
        # Null if the log can't take it in now, or can't be signed.
        with suppress(ReceiptNotLogged, SigningUnavailable):
            findings.check("inclusion", lambda: _require_included(receipt_id, body.proof))
    # A result may be null.
    if "result" in body.model_fields_set:
        findings.check("result", lambda: require_hash(statement, "result", body.result))
    if body.parameters is not None:
        findings.check("parameters", lambda: require_hash(statement, "parameters", body.parameters))
    return findings.read(receipt_id)


class _Findings:
    def __init__(self) -> None:
        self.checks = VerificationChecks()
        self._reasons: list[str] = []

    def check(self, name: str, work: Callable[[], T]) -> T | None:
        """Notes whether the check of this name holds; gives what it has found."""
        try:
            found = work()
        except NotVerified as error:
            setattr(self.checks, name, False)
            self._reasons.append(f"{name}: {error}")
            return None
        setattr(self.checks, name, True)
        return found

    def read(self, receipt_id: str | None) -> VerificationRead:
        reason = "; ".join(self._reasons) or None
        return VerificationRead(valid=reason is None, checks=self.checks, receipt_id=receipt_id, reason=reason)


def _require_known(receipt_id: str, proof: str) -> bool:
    issued = database().read(lambda tx: tx.scalar(select(receipts.c.proof).where(receipts.c.id == receipt_id)))
    if issued is None:
        raise NotVerified("this coordinator has no such receipt")
    if issued != proof:
        raise NotVerified("this coordinator has another proof of this receipt")
    return True


def _require_included(receipt_id: str, proof: str) -> None:
    inclusion = proofs.inclusion(receipt_id)
    # Read now: the checkpoint may have been signed by a newer key than the receipt.
    verified_inclusion(proof, inclusion.model_dump(), {"keys": published_keys()})
