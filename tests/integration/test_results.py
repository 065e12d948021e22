"""Answers: taken from the holder, once; late ones are salvaged when nobody else has the job."""

import base64
import hashlib
import json
from typing import Any

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tests.api import MINER, OTHER_MINER, Api, let_pass


def test_a_result_completes_the_job_and_yields_its_receipt(client: Api, miner: Api) -> None:
    job_id = client.submit()["id"]
    me = miner.register()

    answer = miner.answer(miner.poll()[0], metrics={"units": 7, "unit_type": "tokens"})

    receipt = answer.json["receipt"]
    assert (answer.status, answer.json["job_id"], answer.json["status"]) == (201, job_id, "completed")
    assert (receipt["job_id"], receipt["miner_id"], receipt["result"]) == (job_id, me["id"], {"text": "Paris"})
    assert (receipt["units"], receipt["unit_type"], receipt["price"]) == (7.0, "tokens", "0")
    result = client.get(f"/v1/client/jobs/{job_id}/result").json
    assert result == {
        "job_id": job_id,
        "status": "completed",
        "result": {"text": "Paris"},
        "receipt": receipt,
        "error": None,
    }
    assert client.get(f"/v1/client/jobs/{job_id}/receipts").json == {"items": [receipt], "next_cursor": None}
    job = client.job(job_id)
    assert (job["status"], job["price"], job["progress"]["percent"]) == ("completed", "0", 100.0)
    assert job["created_at"] <= job["started_at"] <= job["completed_at"]


def test_the_same_answer_again_gives_the_same_receipt(client: Api, miner: Api) -> None:
    client.submit()
    miner.register()
    assignment = miner.poll()[0]

    first, again = miner.answer(assignment), miner.answer(assignment)

    assert (first.status, again.status) == (201, 200)
    assert again.json == first.json


def test_another_answer_to_a_finished_job_is_a_conflict(client: Api, miner: Api) -> None:
    job_id = client.submit()["id"]
    miner.register()
    assignment = miner.poll()[0]
    miner.answer(assignment)

    answer = miner.answer(assignment, result={"text": "London"})

    assert (answer.status, answer.error) == (409, "RESULT_CONFLICT")
    assert client.get(f"/v1/client/jobs/{job_id}/result").json["result"] == {"text": "Paris"}


def test_the_lease_token_may_be_left_out(client: Api, miner: Api) -> None:
    job_id = client.submit()["id"]
    miner.register()
    miner.poll()

    assert miner.post("/v1/miner/result", {"job_id": job_id, "result": None}).status == 201
    assert client.get(f"/v1/client/jobs/{job_id}/result").json["result"] is None


def test_a_token_of_no_lease_of_the_miner_is_refused(client: Api, miner: Api) -> None:
    client.submit()
    miner.register()

    answer = miner.answer(miner.poll()[0] | {"lease_token": "0" * 32})

    assert (answer.status, answer.error) == (409, "LEASE_LOST")


@pytest.mark.parametrize("job_id", ["nix", "01a20e16-96db-735a-9dcf-bc8386955752"])
def test_a_job_that_does_not_exist_is_not_found(miner: Api, job_id: str) -> None:
    miner.register()

    assert miner.post("/v1/miner/result", {"job_id": job_id, "result": 1}).error == "JOB_NOT_FOUND"


def test_a_miner_that_never_held_the_job_finds_none(api: Api, client: Api, miner: Api) -> None:
    client.submit()
    miner.register()
    assignment = miner.poll()[0]
    stranger = api.as_(OTHER_MINER)
    stranger.register()

    answer = stranger.answer(assignment)

    assert (answer.status, answer.error) == (404, "JOB_NOT_FOUND")


def test_a_late_answer_is_taken_while_nobody_else_has_the_job(client: Api, miner: Api) -> None:
    job_id = client.submit()["id"]
    miner.register()
    assignment = miner.poll()[0]
    let_pass(61)
    assert client.job(job_id)["status"] == "pending"

    assert miner.answer(assignment).status == 201
    assert client.job(job_id)["status"] == "completed"
    assert miner.poll() == []


def taken_over(client: Api, miner: Api, other: Api) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """A job that another miner has got after the first one's lease: its id, and what each was told."""
    job_id = client.submit()["id"]
    miner.register()
    [first] = miner.poll()
    let_pass(61)
    other.register()
    [second] = other.poll()
    return job_id, first, second


def test_a_late_answer_is_taken_when_the_other_lease_has_expired_too(api: Api, client: Api, miner: Api) -> None:
    other = api.as_(OTHER_MINER)
    job_id, first, second = taken_over(client, miner, other)
    let_pass(61)

    assert miner.answer(first).status == 201
    assert (other.answer(second).status, other.answer(second).error) == (409, "LEASE_LOST")
    assert client.job(job_id)["status"] == "completed"


def test_no_answer_is_taken_after_the_jobs_time_to_live(client: Api, miner: Api) -> None:
    job_id = client.submit(ttl_seconds=30)["id"]
    miner.register()
    assignment = miner.poll()[0]
    let_pass(31)

    unseen = miner.answer(assignment)

    assert (unseen.status, unseen.error) == (409, "LEASE_LOST")
    assert client.job(job_id)["error"]["code"] == "EXPIRED"
    assert miner.answer(assignment).error == "LEASE_LOST"


def test_a_late_answer_is_refused_while_another_miner_works(api: Api, client: Api, miner: Api) -> None:
    other = api.as_(OTHER_MINER)
    job_id, stale, fresh = taken_over(client, miner, other)

    late = miner.answer(stale)

    assert (late.status, late.error) == (409, "LEASE_LOST")
    assert other.answer(fresh, result={"text": "Rome"}).status == 201
    assert miner.answer(stale).error == "LEASE_LOST"
    assert client.get(f"/v1/client/jobs/{job_id}/result").json["result"] == {"text": "Rome"}


def test_an_answer_by_an_older_lease_of_the_miner_that_holds_the_job_again_is_taken(client: Api, miner: Api) -> None:
    job_id = client.submit()["id"]
    miner.register()
    older = miner.poll()[0]
    let_pass(61)
    newer = miner.poll()[0]

    assert miner.answer(older).status == 201
    assert miner.answer(newer).error == "LEASE_LOST"
    assert client.job(job_id)["status"] == "completed"
    assert miner.poll() == []


def test_a_free_job_stays_free_when_its_miner_has_raised_its_price_meanwhile(client: Api, miner: Api) -> None:
    job_id = client.submit()["id"]
    miner.register()
    assignment = miner.poll()[0]
    miner.register(price="1.5")

    receipt = miner.answer(assignment).json["receipt"]

    assert (receipt["price"], client.job(job_id)["price"]) == ("0", "0")


def test_a_deregistered_miner_may_still_deliver(client: Api, miner: Api) -> None:
    client.submit()
    miner.register()
    assignment = miner.poll()[0]
    miner.post("/v1/miner/deregister")

    assert miner.answer(assignment).status == 201


def test_no_answer_brings_a_failed_job_back(client: Api, miner: Api) -> None:
    job_id = client.submit(ttl_seconds=10)["id"]
    miner.register()
    assignment = miner.poll()[0]
    let_pass(11)
    failed = client.job(job_id)

    answer = miner.answer(assignment)

    assert (answer.status, answer.error) == (409, "LEASE_LOST")
    assert client.job(job_id) == failed
    assert failed["error"]["code"] == "EXPIRED"


def test_a_failure_that_may_pass_returns_the_job_until_its_attempts_are_used_up(client: Api, miner: Api) -> None:
    job_id = client.submit(max_attempts=2)["id"]
    miner.register()
    failure = {"status": "failed", "error": {"code": "GPU_LOST", "message": "fell off", "retryable": True}}

    first = miner.answer(miner.poll()[0], **failure)
    second = miner.answer(miner.poll()[0], **failure)

    assert (first.status, first.json) == (201, {"job_id": job_id, "status": "pending", "receipt": None})
    assert (second.status, second.json["status"]) == (201, "failed")
    result = client.get(f"/v1/client/jobs/{job_id}/result").json
    assert result["error"] == {"code": "GPU_LOST", "message": "fell off"}
    assert (result["result"], result["receipt"]) == (None, None)


def test_a_final_failure_fails_the_job_at_once(client: Api, miner: Api) -> None:
    job_id = client.submit()["id"]
    miner.register()
    assignment = miner.poll()[0]
    failure = {"status": "failed", "error": {"code": "BAD_PROMPT", "message": "empty"}}

    assert miner.answer(assignment, **failure).json["status"] == "failed"
    assert miner.answer(assignment, **failure).status == 200
    assert miner.answer(assignment).error == "RESULT_CONFLICT"
    assert client.job(job_id)["error"]["code"] == "BAD_PROMPT"


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "failed"},
        {"status": "done"},
        {"status": "failed", "error": {"message": "no code"}},
        {"result": 2**53},
        {"metrics": {"units": -1}},
        {"metrics": {"units": True}},
        {"metrics": {"units": "7"}},
        {"metrics": {"units": 1, "unit_type": 5}},
        {"metrics": []},
        {"lease_token": 5},
    ],
)
def test_a_wrong_answer_is_422_and_the_lease_stays(client: Api, miner: Api, wrong: dict[str, object]) -> None:
    job_id = client.submit()["id"]
    miner.register()
    assignment = miner.poll()[0]

    answer = miner.answer(assignment, **wrong)

    assert (answer.status, answer.error) == (422, "VALIDATION_ERROR")
    assert client.job(job_id)["status"] == "running"
    assert miner.answer(assignment).status == 201


class TestSignedResults:
    """A miner that registered a public key signs what it delivers."""

    key = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    public_key = base64.urlsafe_b64encode(key.public_key().public_bytes_raw()).rstrip(b"=").decode()

    def sign(self, assignment: dict[str, str], result: object) -> str:
        digest = hashlib.sha256(rfc8785.dumps(result)).hexdigest()  # type: ignore[arg-type]
        signature = self.key.sign(f"{assignment['id']}.{assignment['lease_token']}.{digest}".encode())
        return base64.urlsafe_b64encode(signature).rstrip(b"=").decode()

    def register(self, api: Api) -> Api:
        miner = api.as_(MINER)
        miner.register(public_key=self.public_key)
        return miner

    def test_a_right_signature_is_taken(self, api: Api, client: Api) -> None:
        client.submit()
        miner = self.register(api)
        assignment = miner.poll()[0]
        signature = self.sign(assignment, {"text": "Paris"})

        answer = miner.answer(assignment, signature=signature)

        assert answer.status == 201

    def test_whoever_has_the_receipt_can_check_it(self, api: Api, client: Api) -> None:
        client.submit()
        miner = self.register(api)
        assignment = miner.poll()[0]

        receipt = miner.answer(assignment, signature=self.sign(assignment, {"text": "Paris"})).json["receipt"]

        stated = json.loads(decoded(receipt["proof"].split(".")[1]))
        key = Ed25519PublicKey.from_public_bytes(decoded(stated["miner_public_key"]))
        signed = f"{stated['job_id']}.{stated['lease_token']}.{stated['result_sha256']}"
        key.verify(decoded(stated["miner_signature"]), signed.encode())
        assert stated["miner_public_key"] == self.public_key

    def test_a_lease_token_that_has_become_public_lets_nobody_else_answer(self, api: Api, client: Api) -> None:
        client.submit()
        miner = self.register(api)
        assignment = miner.poll()[0]
        signature = self.sign(assignment, {"text": "Paris"})
        miner.answer(assignment, signature=signature)
        other = api.as_(OTHER_MINER)
        other.register()

        assert other.answer(assignment, signature=signature).error == "JOB_NOT_FOUND"
        assert miner.answer(assignment, result={"text": "Rome"}).error == "RESULT_CONFLICT"

    @pytest.mark.parametrize("signature", [None, "", "!", "A" * 86, "A" * 87])
    def test_a_missing_or_wrong_one_is_refused_and_the_lease_stays(
        self, api: Api, client: Api, signature: str | None
    ) -> None:
        client.submit()
        miner = self.register(api)
        assignment = miner.poll()[0]

        answer = miner.answer(assignment, signature=signature)

        assert (answer.status, answer.error) == (422, "BAD_SIGNATURE")
        assert miner.answer(assignment, signature=self.sign(assignment, {"text": "Paris"})).status == 201

    def test_a_signature_of_another_result_is_refused(self, api: Api, client: Api) -> None:
        client.submit()
        miner = self.register(api)
        assignment = miner.poll()[0]

        assert miner.answer(assignment, signature=self.sign(assignment, {"text": "Rome"})).error == "BAD_SIGNATURE"

    def test_a_failure_needs_none(self, api: Api, client: Api) -> None:
        client.submit()
        miner = self.register(api)

        assert miner.answer(miner.poll()[0], status="failed", error={"code": "X"}).json["status"] == "failed"


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "==")


def test_earnings_list_the_completed_jobs(client: Api, miner: Api) -> None:
    miner.register()
    ids = []
    for _ in range(3):
        ids.append(client.submit()["id"])
        miner.answer(miner.poll()[0])

    first = miner.get("/v1/miner/earnings?limit=2").json
    rest = miner.get(f"/v1/miner/earnings?limit=2&cursor={first['next_cursor']}").json

    assert (first["total"], first["settled_jobs"]) == ("0", 3)
    assert [item["job_id"] for item in first["items"] + rest["items"]] == ids[::-1]
    assert rest["next_cursor"] is None
