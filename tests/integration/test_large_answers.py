"""No answer is larger than Lambda hands out: 6 MB as a JSON string, in which quotes and backslashes count twice.

https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
"""

import json
from typing import Any

import pytest

from tests.api import ADMIN, Answer, Api

HANDED_OUT_BYTES = 6_291_556
# Nearly all that a body may have, in the forms that take most of an answer: doubled when escaped, and four bytes each.
LARGE = ['"' * 500_000, "\U0001f600" * 250_000]
# Written out it is four times as long.
SHORT_NUMBERS = '{"a": [' + ",".join(["1e15"] * 200_000) + "]}"


def handed_out(answer: Answer) -> Answer:
    whole = {"statusCode": answer.status, "headers": dict(answer.headers), "body": answer.text}
    assert len(json.dumps(whole, ensure_ascii=False).encode()) <= HANDED_OUT_BYTES
    return answer


def submitted(client: Api, text: str, **constraints: Any) -> str:
    body = {"job_type": "llm_inference", "parameters": {"prompt": text}, "constraints": constraints}
    answer = client.call("POST", "/v1/client/jobs", raw=json.dumps(body, ensure_ascii=False))
    assert answer.status == 201, answer.text
    return str(answer.json["id"])


@pytest.fixture(params=LARGE, ids=["escaped", "four bytes each"])
def jobs(request: pytest.FixtureRequest, client: Api) -> list[str]:
    return [submitted(client, request.param) for _ in range(5)]


def polled(miner: Api, limit: int) -> list[dict[str, Any]]:
    answer = handed_out(miner.get(f"/v1/miner/jobs?limit={limit}"))
    assert answer.status == 200, answer.text
    return list(answer.json["items"])


@pytest.mark.parametrize("known", [False, True], ids=["first poll", "known miner"])
def test_a_poll_leases_as_many_as_it_can_tell(client: Api, miner: Api, jobs: list[str], known: bool) -> None:
    miner.miner_id = miner.register(concurrency=20)["id"]
    if known:
        assert len(polled(miner, 1)) == 1
    given = [item["id"] for _ in range(5) for item in polled(miner, 20)]

    assert given == (jobs[1:] if known else jobs)
    assert [client.job(job)["attempts"] for job in jobs] == [1] * 5
    assert polled(miner, 20) == []


def test_what_was_not_told_is_pending_and_anyone_may_have_it(client: Api, miner: Api) -> None:
    jobs = [submitted(client, LARGE[0]) for _ in range(3)]
    other = miner.as_(miner.key)
    miner.miner_id = miner.register("one", concurrency=20)["id"]
    other.miner_id = miner.register("other", concurrency=20)["id"]

    told = [item["id"] for item in polled(miner, 20)]
    left = [client.job(job) for job in jobs if job not in told]
    next_one = polled(other, 1)

    assert {(job["status"], job["attempts"], job["miner_id"], job["started_at"]) for job in left} == {
        ("pending", 0, None, None)
    }
    assert [(item["id"], item["attempt"]) for item in next_one] == [(left[0]["id"], 1)]


def test_a_miner_that_holds_all_it_may_is_told_again_what_fits(miner: Api, jobs: list[str]) -> None:
    miner.register(concurrency=5)
    first = [item["id"] for _ in jobs for item in polled(miner, 20) if not item["redelivered"]]

    again = polled(miner, 20)

    assert first == jobs
    assert [item["id"] for item in again] == jobs[: len(again)]
    assert {(item["redelivered"], item["attempt"]) for item in again} == {(True, 1)}


def test_constraints_count_too(client: Api, miner: Api) -> None:
    large = [submitted(client, "Hi", models=[LARGE[0]]) for _ in range(4)]
    miner.register(concurrency=4, capabilities=[{"job_type": "llm_inference", "models": [LARGE[0]]}])
    for job in large:
        assert [item["id"] for item in polled(miner, 4)] == [job]

    assert polled(miner, 4)[0]["redelivered"]
    assert handed_out(client.get("/v1/client/jobs")).json["next_cursor"] is not None


@pytest.mark.parametrize("path", ["/v1/client/jobs", "/v1/admin/jobs"])
def test_a_page_ends_where_no_more_fits(client: Api, jobs: list[str], path: str) -> None:
    reader = client if "client" in path else client.as_(ADMIN)
    listed, cursor = [], ""
    while cursor is not None:
        page = handed_out(reader.get(f"{path}?limit=4{cursor and '&cursor=' + cursor}")).json
        listed += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]

    assert listed == jobs[::-1]


def test_large_results_are_handed_out_one_by_one_and_listed(client: Api, miner: Api) -> None:
    miner.register(concurrency=3)
    for result in (*LARGE, "short"):
        client.submit()
        [assignment] = miner.poll(1)
        body = {"job_id": assignment["id"], "lease_token": assignment["lease_token"], "result": result}
        answer = miner.call("POST", "/v1/miner/result", raw=json.dumps(body, ensure_ascii=False))
        assert answer.status == 201, answer.text
        assert handed_out(client.get(f"/v1/client/jobs/{assignment['id']}/result")).json["result"] == result
    listed, cursor = [], ""
    while cursor is not None:
        path = f"/v1/admin/receipts?limit=50{cursor and '&cursor=' + cursor}"
        page = handed_out(client.as_(ADMIN).get(path)).json
        listed += [item["result"] for item in page["items"]]
        cursor = page["next_cursor"]

    assert listed == ["short", *LARGE[::-1]]


def test_what_canonical_json_writes_out_may_be_no_larger_than_a_body(client: Api, miner: Api) -> None:
    miner.register()
    submitted = client.call(
        "POST", "/v1/client/jobs", raw=f'{{"job_type": "llm_inference", "parameters": {SHORT_NUMBERS}}}'
    )
    client.submit()
    [assignment] = miner.poll()
    named = f'"job_id": "{assignment["id"]}", "lease_token": "{assignment["lease_token"]}"'
    answered = miner.call("POST", "/v1/miner/result", raw=f'{{{named}, "result": {SHORT_NUMBERS}}}')

    assert [(answer.status, answer.error) for answer in (submitted, answered)] == [(413, "PAYLOAD_TOO_LARGE")] * 2
    assert miner.answer(assignment).status == 201


def test_head_leases_nothing(client: Api, miner: Api) -> None:
    job = client.submit()
    miner.register()

    answer = miner.call("HEAD", "/v1/miner/jobs")

    assert (answer.status, answer.headers["allow"]) == (405, "GET, POST")
    assert client.job(job["id"])["status"] == "pending"
