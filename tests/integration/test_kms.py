"""Receipts that KMS signs: never in a transaction, and nothing is lost when it can't be asked."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError, ConnectTimeoutError, NoCredentialsError
from joserfc import jws
from joserfc.jwk import KeySet
from moto import mock_aws
from sqlalchemy import Connection, text

from tests.api import CLIENT, MINER, SECRET_KEY, Answer, Api, forget_process_state

REGION = "eu-central-1"
# https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html
LONGEST_MESSAGE = 4096
FUNCTION_SECONDS = 30


def new_key(spec: str = "ECC_NIST_P256") -> str:
    """The ARN of a new key in the KMS that moto plays."""
    kms = boto3.client("kms", region_name=REGION)
    return str(kms.create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")["KeyMetadata"]["Arn"])


Configure = Callable[..., None]


@pytest.fixture
def configure(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[Configure]:
    """Deploys with another key: every process begins anew."""

    def deploy(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        forget_process_state()

    with mock_aws():
        yield deploy


@pytest.fixture
def kms(configure: Configure) -> str:
    arn = new_key()
    configure(RECEIPT_KMS_KEY_ID=arn)
    return arn


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Connection], Any]], list[bytes]]:
    """Writes to the database while KMS is at its first signature; gives what KMS has signed."""

    def write_meanwhile(work: Callable[[Connection], Any]) -> list[bytes]:
        from coordinator.core.database import database
        from coordinator.receipts.kms import KmsSigner

        sign = KmsSigner.sign
        signed: list[bytes] = []

        def sign_slowly(self: KmsSigner, message: bytes) -> bytes:
            if not signed:
                database().write(work)
            signed.append(message)
            return sign(self, message)

        monkeypatch.setattr(KmsSigner, "sign", sign_slowly)
        return signed

    return write_meanwhile


def leased(api: Api, **miner: Any) -> dict[str, Any]:
    api.as_(CLIENT).submit()
    api.as_(MINER).register(**miner)
    return api.as_(MINER).poll()[0]


def completed(api: Api) -> str:
    answer = api.as_(MINER).answer(leased(api))
    assert answer.status == 201, answer.text
    return str(answer.json["receipt"]["proof"])


def stated(api: Api, proof: str) -> dict[str, Any]:
    """Verifies with a library that is not ours."""
    registry = jws.JWSRegistry(algorithms=["Ed25519", "ES256"])
    keys = KeySet.import_key_set(api.get("/.well-known/jwks.json").json)
    return dict(json.loads(jws.deserialize_compact(proof, keys, registry=registry).payload))


def failing(error: Exception) -> Callable[..., Any]:
    def call(_client: Any, _operation: str, _arguments: Any) -> Any:
        raise error

    return call


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "secret details"}}, "Sign")


def test_a_receipt_signed_by_kms_verifies_offline(api: Api, kms: str) -> None:
    proof = completed(api)

    assert stated(api, proof)["result_sha256"]
    [key] = api.get("/.well-known/jwks.json").json["keys"]
    assert (key["kty"], key["crv"], key["alg"]) == ("EC", "P-256", "ES256")


def test_no_transaction_waits_for_kms(api: Api, kms: str, meanwhile: Any) -> None:
    assignment = leased(api)

    # The process has one connection: in the midst of a transaction this would fail.
    signed = meanwhile(lambda tx: tx.execute(text("SELECT 1")))

    assert api.as_(MINER).answer(assignment).status == 201
    assert len(signed) == 1


def test_what_happens_while_kms_signs_is_judged(api: Api, kms: str, meanwhile: Any) -> None:
    from coordinator.jobs import operations

    assignment = leased(api)

    meanwhile(lambda tx: operations.cancel(tx, "an operator", assignment["id"]))

    assert api.as_(MINER).answer(assignment).error == "JOB_CANCELLED"
    assert api.as_(CLIENT).get(f"/v1/client/jobs/{assignment['id']}/receipts").json["items"] == []


def test_a_receipt_states_what_is_true_when_it_is_stored(api: Api, kms: str, meanwhile: Any) -> None:
    assignment = leased(api)

    signed = meanwhile(lambda tx: tx.execute(text("UPDATE miners SET address = 'ait1moved'")))
    receipt = api.as_(MINER).answer(assignment).json["receipt"]

    statement = stated(api, receipt["proof"])
    assert len(signed) == 2
    assert statement["miner_address"] == "ait1moved"
    assert (statement["sub"], statement["completed_at"]) == (receipt["id"], receipt["completed_at"])
    assert api.as_(CLIENT).job(assignment["id"])["completed_at"] == receipt["completed_at"]


def test_a_repetition_with_an_idempotency_key_gets_the_same_receipt(api: Api, kms: str) -> None:
    assignment = leased(api)
    body = {"job_id": assignment["id"], "lease_token": assignment["lease_token"], "result": 42}

    first, second = (
        api.as_(MINER).post("/v1/miner/result", body, headers={"idempotency-key": "once"}) for _ in range(2)
    )

    assert (first.status, second.status, second.text) == (201, 201, first.text)


@pytest.mark.parametrize(
    "error",
    [
        refusal("AccessDeniedException"),
        refusal("ThrottlingException"),
        refusal("NotFoundException"),
        refusal("KMSInvalidStateException"),
        ConnectTimeoutError(endpoint_url="https://kms.example.org"),
        NoCredentialsError(),
    ],
    ids=lambda error: getattr(error, "response", {"Error": {"Code": type(error).__name__}})["Error"]["Code"],
)
def test_without_kms_nothing_is_lost(
    api: Api, kms: str, monkeypatch: pytest.MonkeyPatch, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    assignment = leased(api)
    with monkeypatch.context() as patch:
        patch.setattr(BaseClient, "_make_api_call", failing(error))
        refused = api.as_(MINER).answer(assignment)
    job = api.as_(CLIENT).job(assignment["id"])

    again = api.as_(MINER).answer(assignment)

    assert (refused.status, refused.error) == (503, "SIGNING_UNAVAILABLE")
    assert int(refused.headers["retry-after"]) > 0
    assert "secret details" not in refused.text
    assert "receipts can't be signed" in caplog.text
    assert job["status"] == "running"
    assert again.status == 201


def test_the_process_that_knows_the_key_loses_nothing_either(
    api: Api, kms: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    completed(api)
    assignment = leased(api)
    with monkeypatch.context() as patch:
        patch.setattr(BaseClient, "_make_api_call", failing(refusal("ThrottlingException")))
        refused = api.as_(MINER).answer(assignment)

    assert (refused.status, api.as_(MINER).answer(assignment).status) == (503, 201)


def test_keys_are_published_while_kms_can_not_be_asked(
    api: Api, kms: str, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    completed(api)
    before = api.get("/.well-known/jwks.json").json
    configure()
    monkeypatch.setattr(BaseClient, "_make_api_call", failing(refusal("ThrottlingException")))

    assert api.get("/.well-known/jwks.json").json == before


@pytest.mark.parametrize("missing", ["arn:aws:kms:eu-central-1:123456789012:key/none", "none"])
def test_a_key_that_is_not_there_is_a_503(
    api: Api, configure: Configure, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(RECEIPT_KMS_KEY_ID=missing, AWS_DEFAULT_REGION=REGION)

    assert refused(api.as_(MINER).answer(leased(api)))


@pytest.mark.parametrize("spec", ["RSA_2048", "ECC_NIST_P384"])
def test_a_key_of_another_kind_is_a_503(
    api: Api, configure: Configure, spec: str, caplog: pytest.LogCaptureFixture
) -> None:
    configure(RECEIPT_KMS_KEY_ID=new_key(spec))

    assert refused(api.as_(MINER).answer(leased(api)))
    assert "receipts can't be signed" in caplog.text


def test_all_old_receipts_verify_after_each_change_of_the_key(api: Api, configure: Configure) -> None:
    proofs = [completed(api)]
    for variables in (
        {"RECEIPT_KMS_KEY_ID": new_key()},
        {"RECEIPT_KMS_KEY_ID": new_key()},
        {"RECEIPT_KMS_KEY_ID": "", "SECRET_KEY": "another-test-secret-9876543210-zyxwvutsrq"},
        {"SECRET_KEY": SECRET_KEY},
    ):
        configure(**variables)
        proofs.append(completed(api))

    jobs = {stated(api, proof)["job_id"] for proof in proofs}

    assert len(jobs) == 5
    assert len(api.get("/.well-known/jwks.json").json["keys"]) == 4


def test_the_longest_statement_is_not_too_long_for_kms(api: Api, kms: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # What JSON writes longest: a control character as six.
    api.as_(CLIENT).submit()
    miner = api.as_(MINER)
    miner.register(address="\x01" * 200, public_key="A" * 42 + "E")
    monkeypatch.setattr("coordinator.jobs.results.miner_has_signed", lambda *_: True)

    answer = miner.answer(
        miner.poll()[0], metrics={"units": 2**53 - 1.5, "unit_type": "\x01" * 64}, signature="A" * 86 + "=="
    )

    assert answer.status == 201, answer.text
    assert len(answer.json["receipt"]["proof"].rpartition(".")[0]) < LONGEST_MESSAGE


def test_all_attempts_to_ask_kms_fit_into_the_time_of_the_function() -> None:
    from coordinator.receipts.kms import _CALLS

    once: float = _CALLS.connect_timeout + _CALLS.read_timeout  # type: ignore[attr-defined]
    attempts: int = _CALLS.retries["total_max_attempts"]  # type: ignore[attr-defined]

    # For the public key and for a signature.
    assert 2 * attempts * once < FUNCTION_SECONDS


def refused(answer: Answer) -> bool:
    return (answer.status, answer.error) == (503, "SIGNING_UNAVAILABLE")
