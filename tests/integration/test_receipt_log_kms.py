"""A log that KMS signs: never in a transaction, and nothing is lost when KMS can't be asked."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from moto import mock_aws
from sqlalchemy import text

from tests.api import CLIENT, MINER, Api, forget_process_state
from tests.integration.logged import checkpoint, entries, included, kept_notes, require_growth

REFUSED = ClientError({"Error": {"Code": "ThrottlingException", "Message": "not now"}}, "Sign")


@pytest.fixture
def kms(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with mock_aws():
        client = boto3.client("kms", region_name="eu-central-1")
        key = client.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]
        monkeypatch.setenv("RECEIPT_KMS_KEY_ID", key["Arn"])
        forget_process_state()
        yield key["Arn"]


def completed(api: Api) -> str:
    api.as_(CLIENT).submit()
    api.as_(MINER).register()
    answer = api.as_(MINER).answer(api.as_(MINER).poll()[0])
    assert answer.status == 201, answer.text
    return str(answer.json["receipt"]["id"])


def refuse(_client: Any, _operation: str, _arguments: Any) -> Any:
    raise REFUSED


def test_a_checkpoint_signed_by_kms_verifies_offline(api: Api, kms: str) -> None:
    receipt_id = completed(api)

    assert included(api, receipt_id) == (0, checkpoint(api))


def test_the_log_goes_on_when_kms_takes_over(api: Api, monkeypatch: pytest.MonkeyPatch, request: Any) -> None:
    first = completed(api)
    before = checkpoint(api)
    request.getfixturevalue("kms")
    completed(api)
    after = checkpoint(api)

    require_growth(api, before, after)
    assert included(api, first) == (0, after)


def test_no_transaction_waits_for_kms(api: Api, kms: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from coordinator.core.database import database
    from coordinator.receipts.kms import KmsSigner

    sign = KmsSigner.sign

    def sign_slowly(self: KmsSigner, message: bytes) -> bytes:
        # The process has one connection: in the midst of a transaction this would fail.
        database().write(lambda tx: tx.execute(text("SELECT 1")))
        return sign(self, message)

    receipt_id = completed(api)
    monkeypatch.setattr(KmsSigner, "sign", sign_slowly)

    assert included(api, receipt_id)[1].size == 1


def test_without_kms_the_log_grows_and_is_signed_later(api: Api, kms: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from coordinator.receipts.errors import SigningUnavailable
    from receipts.growth import handler

    receipt_id = completed(api)
    with monkeypatch.context() as patch:
        patch.setattr(BaseClient, "_make_api_call", refuse)
        with pytest.raises(SigningUnavailable):
            handler({}, None)
        refused = [api.get(f"/v1/receipts/{path}") for path in ("checkpoint", f"{receipt_id}/inclusion")]

    assert [(answer.status, answer.error) for answer in refused] == [(503, "SIGNING_UNAVAILABLE")] * 2
    assert (entries(), kept_notes()) == ([(0, receipt_id)], [])
    assert handler({}, None) == {"taken": 0, "size": 1}
    assert included(api, receipt_id) == (0, checkpoint(api))


def test_what_is_signed_is_proved_without_kms(api: Api, kms: str, monkeypatch: pytest.MonkeyPatch) -> None:
    receipt_id = completed(api)
    signed = checkpoint(api)
    monkeypatch.setattr(BaseClient, "_make_api_call", refuse)

    assert checkpoint(api) == signed
    assert included(api, receipt_id) == (0, signed)
