"""What tests of the transparency log share: receipts without jobs, and verifying what the API proves of them."""

from typing import Any

from sqlalchemy import Connection

from aitbc_verify.checkpoints import Checkpoint, verified_checkpoint
from aitbc_verify.log import require_grown, verified_inclusion
from tests.api import Api


def issue(tx: Connection, receipt_id: str | None = None) -> str:
    """Adds a receipt of a job that is not there, and gives its id."""
    from coordinator.core.ids import new_id
    from coordinator.receipts import issuing
    from coordinator.receipts.pen import Pen

    pen = Pen()
    pen.receipt_id = receipt_id or pen.receipt_id
    statement = issuing.Statement(
        job_id=new_id(),
        attempt=1,
        job_type="custom",
        client_id="client",
        miner_id="miner",
        miner_address="ait1one",
        parameters_sha256="",
        result_sha256="",
        units=1.0,
        unit_type="seconds",
        price_atoms=0,
        started_us=0,
        completed_us=0,
        miner_signature=None,
        miner_public_key=None,
        lease_token=None,
    )
    return issuing.issue(tx, statement, "null", pen).id


def issued(count: int) -> list[str]:
    from coordinator.core.database import database

    return [database().write(issue) for _ in range(count)]


def proof_of(receipt_id: str) -> str:
    from sqlalchemy import select

    from coordinator.core.database import database
    from coordinator.receipts.models import receipts

    return str(database().read(lambda tx: tx.scalar(select(receipts.c.proof).where(receipts.c.id == receipt_id))))


def entries() -> list[tuple[int, str]]:
    """The places of the log with their receipts, from the database itself."""
    from sqlalchemy import text

    from coordinator.core.database import database

    found = text("SELECT log_index, receipt_id FROM receipt_log ORDER BY log_index")
    return database().read(lambda tx: [(row.log_index, row.receipt_id) for row in tx.execute(found)])


def waiting() -> set[str]:
    from sqlalchemy import text

    from coordinator.core.database import database

    return set(database().read(lambda tx: tx.scalars(text("SELECT receipt_id FROM receipt_log_waiting")).all()))


def kept_notes() -> list[str]:
    """All checkpoints that were ever handed out, the smallest first."""
    from sqlalchemy import text

    from coordinator.core.database import database

    return list(
        database().read(lambda tx: tx.scalars(text("SELECT note FROM receipt_log_checkpoints ORDER BY size")).all())
    )


def jwks(api: Api) -> Any:
    return api.get("/.well-known/jwks.json").json


def checkpoint(api: Api) -> Checkpoint:
    """The log's checkpoint, opened with the published keys."""
    answer = api.get("/v1/receipts/checkpoint")
    assert answer.status == 200, answer.text
    signed = verified_checkpoint(answer.json["checkpoint"], jwks(api))
    assert (answer.json["tree_size"], answer.json["root_hash"]) == (signed.size, signed.root.hex())
    return signed


def included(api: Api, receipt_id: str, query: str = "") -> tuple[int, Checkpoint]:
    """The place of a receipt and the checkpoint that it is proved under."""
    answer = api.get(f"/v1/receipts/{receipt_id}/inclusion{query}")
    assert answer.status == 200, answer.text
    return answer.json["log_index"], verified_inclusion(proof_of(receipt_id), answer.json, jwks(api))


def require_growth(api: Api, older: Checkpoint, newer: Checkpoint) -> None:
    """Raises NotVerified unless the API proves that the log has only grown."""
    answer = api.get(f"/v1/receipts/consistency?from={older.size}&to={newer.size}")
    assert answer.status == 200, answer.text
    assert (answer.json["from"], answer.json["to"]) == (older.size, newer.size)
    require_grown(older, newer, answer.json)
