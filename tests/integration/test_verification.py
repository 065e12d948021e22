"""`POST /v1/receipts/verify` says which check has failed, and why; nothing that is sent to it is an error."""

import base64
import json
from typing import Any

import pytest
from sqlalchemy import text

from coordinator.receipts.proof_schemas import InclusionRead
from tests.api import CLIENT, MINER, Api

VERIFY = "/v1/receipts/verify"
PARAMETERS = {"prompt": "The capital of France is"}
RESULT = {"text": "Paris"}


@pytest.fixture
def receipt(client: Api, miner: Api) -> dict[str, Any]:
    client.submit(parameters=PARAMETERS)
    miner.register()
    return dict(miner.answer(miner.poll()[0], result=RESULT).json["receipt"])


def verified(api: Api, proof: Any, **about: Any) -> dict[str, Any]:
    answer = api.post(VERIFY, {"proof": proof, **about})
    assert answer.status == 200, answer.text
    return dict(answer.json)


def failed(verdict: dict[str, Any]) -> list[str]:
    return [name for name, holds in verdict["checks"].items() if holds is False]


def test_a_receipt_is_verified_with_all_that_it_is_about(api: Api, receipt: dict[str, Any]) -> None:
    verdict = verified(api, receipt["proof"], result=RESULT, parameters=PARAMETERS)

    assert (verdict["valid"], verdict["reason"], verdict["receipt_id"]) == (True, None, receipt["id"])
    checks = verdict["checks"]
    assert checks == dict.fromkeys(("signature", "known", "result", "parameters", "inclusion"), True)


def test_what_was_not_asked_is_null(api: Api, receipt: dict[str, Any]) -> None:
    verdict = verified(api, receipt["proof"])

    assert (verdict["valid"], verdict["checks"]["result"], verdict["checks"]["parameters"]) == (True, None, None)


def test_a_key_is_not_needed_and_does_no_harm(api: Api, receipt: dict[str, Any]) -> None:
    for caller in (None, CLIENT, MINER, "unknown"):
        assert verified(api.as_(caller), receipt["proof"])["valid"]


@pytest.mark.parametrize(
    ("about", "wrong"),
    [
        ({"result": {"text": "Rome"}}, ["result"]),
        ({"result": None}, ["result"]),
        ({"result": 2**53}, ["result"]),
        ({"parameters": {}}, ["parameters"]),
        ({"result": RESULT, "parameters": {**PARAMETERS, "seed": 1}}, ["parameters"]),
        ({"result": PARAMETERS, "parameters": RESULT}, ["result", "parameters"]),
    ],
)
def test_the_check_that_fails_is_named(
    api: Api, receipt: dict[str, Any], about: dict[str, Any], wrong: list[str]
) -> None:
    verdict = verified(api, receipt["proof"], **about)

    assert (verdict["valid"], failed(verdict)) == (False, wrong)
    assert [part.partition(":")[0] for part in verdict["reason"].split("; ")] == wrong


def test_a_result_may_be_null(api: Api, client: Api, miner: Api) -> None:
    client.submit()
    miner.register()
    proof = miner.answer(miner.poll()[0], result=None).json["receipt"]["proof"]

    assert verified(api, proof, result=None)["checks"]["result"] is True
    assert verified(api, proof, result=0)["checks"]["result"] is False


def test_the_receipt_of_one_job_is_none_of_another(api: Api, client: Api, miner: Api, receipt: dict[str, Any]) -> None:
    client.submit(parameters={"prompt": "The capital of Italy is"})
    other = miner.answer(miner.poll()[0], result={"text": "Rome"}).json["receipt"]
    header, payload, _ = receipt["proof"].split(".")

    swapped = verified(api, other["proof"], result=RESULT, parameters=PARAMETERS)
    mixed = verified(api, f"{header}.{payload}.{other['proof'].split('.')[2]}")

    assert failed(swapped) == ["result", "parameters"]
    assert failed(mixed) == ["signature", "known"]


@pytest.mark.parametrize("garbage", ["", "a.b.c", "..", "\U0001f600", "A" * 1_000_000, "W" * 15_000, "e30.e30.e30"])
def test_garbage_is_not_valid_and_no_error(api: Api, garbage: str) -> None:
    verdict = verified(api, garbage, result=1, parameters={})

    assert (verdict["valid"], verdict["receipt_id"]) == (False, None)
    assert verdict["checks"] == {
        "signature": False,
        "known": False,
        "result": None,
        "parameters": None,
        "inclusion": None,
    }
    assert verdict["reason"].startswith("signature: ")


@pytest.mark.parametrize(
    "body", [{}, {"proof": None}, {"proof": 5}, {"proof": ["a"]}, {"proof": "a", "parameters": [1]}, [], "text"]
)
def test_wrong_types_are_422(api: Api, body: Any) -> None:
    answer = api.post(VERIFY, body)

    assert (answer.status, answer.error) == (422, "VALIDATION_ERROR")


def test_a_receipt_that_was_signed_but_never_issued_is_not_known(api: Api, receipt: dict[str, Any]) -> None:
    from coordinator.receipts.jws import sign_compact
    from coordinator.receipts.signing import receipt_signer

    statement = json.loads(base64.urlsafe_b64decode(receipt["proof"].split(".")[1] + "=="))
    others = [{**statement, "price": "0.5"}, {**statement, "sub": "0199a3c4-6c20-7f44-9b1d-2a7c5e8f0d33"}]

    verdicts = [verified(api, sign_compact(other, receipt_signer())) for other in others]

    assert [(verdict["valid"], failed(verdict)) for verdict in verdicts] == [(False, ["known"])] * 2
    assert "another proof" in verdicts[0]["reason"]
    assert "no such receipt" in verdicts[1]["reason"]


def test_a_receipt_whose_key_is_no_longer_published_is_not_signed(api: Api, receipt: dict[str, Any]) -> None:
    from coordinator.core.database import database

    database().write(lambda tx: tx.execute(text('UPDATE signing_keys SET jwk = replace(jwk, \'"x": "\', \'"x": "A\')')))

    verdict = verified(api, receipt["proof"])

    assert (verdict["valid"], failed(verdict)) == (False, ["signature", "known"])


def test_a_receipt_that_the_log_has_not_come_to_is_valid_without(
    api: Api, client: Api, miner: Api, monkeypatch: pytest.MonkeyPatch, receipt: dict[str, Any]
) -> None:
    client.submit()
    second = miner.answer(miner.poll()[0]).json["receipt"]
    monkeypatch.setattr("coordinator.receipts.proofs.BATCH", 1)
    monkeypatch.setattr("coordinator.receipts.proofs._MOST_BATCHES", 1)

    before, after = (verified(api, second["proof"]) for _ in range(2))

    assert (before["valid"], before["checks"]["inclusion"], before["reason"]) == (True, None, None)
    assert (after["valid"], after["checks"]["inclusion"]) == (True, True)


def test_a_receipt_whose_entry_in_the_log_is_another_is_not_included(
    api: Api, receipt: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    inclusion = api.get(f"/v1/receipts/{receipt['id']}/inclusion").json
    forged = InclusionRead.model_validate({**inclusion, "leaf_hash": "0" * 64})
    monkeypatch.setattr("coordinator.receipts.proofs.inclusion", lambda _: forged)

    verdict = verified(api, receipt["proof"])

    assert (verdict["valid"], failed(verdict)) == (False, ["inclusion"])


def test_calls_are_limited_by_address(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.api import forget_process_state

    monkeypatch.setenv("RATE_LIMIT_USER", "1")
    forget_process_state()

    statuses = [api.post(VERIFY, {"proof": "x"}).status for _ in range(2)]

    assert statuses == [200, 429]
