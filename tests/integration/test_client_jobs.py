import re
import time
from typing import Any

import pytest
from sqlalchemy import update

from coordinator.core.database import database
from coordinator.jobs.models import jobs
from tests.api import CLIENT, OTHER_CLIENT, Api, forget_process_state, let_pass

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def test_a_submitted_job_is_pending_with_the_contracts_defaults(client: Api) -> None:
    answer = client.post("/v1/client/jobs", {"job_type": "llm_inference", "parameters": {"prompt": "Hi"}, "extra": 1})

    job = answer.json
    assert answer.status == 201
    assert answer.headers["location"] == f"/v1/client/jobs/{job['id']}"
    assert UUID7.fullmatch(job["id"])
    assert RFC3339.fullmatch(job["created_at"])
    assert job == {
        "id": job["id"],
        "client_id": job["client_id"],
        "job_type": "llm_inference",
        "parameters": {"prompt": "Hi"},
        "constraints": {},
        "priority": 5,
        "status": "pending",
        "progress": {"percent": 0.0, "message": None},
        "attempts": 0,
        "max_attempts": 3,
        "miner_id": None,
        "error": None,
        "max_price": None,
        "price": None,
        "ttl_seconds": 3600,
        "timeout_seconds": 600,
        "created_at": job["created_at"],
        "updated_at": job["created_at"],
        "started_at": None,
        "completed_at": None,
        "expires_at": job["expires_at"],
    }
    assert client.job(job["id"]) == job


def test_paths_under_api_are_the_same_and_name_themselves_so(client: Api) -> None:
    answer = client.post("/api/v1/client/jobs", {"job_type": "custom"})

    assert answer.headers["location"] == f"/api/v1/client/jobs/{answer.json['id']}"
    assert client.get(answer.headers["location"]).json["id"] == answer.json["id"]


def test_an_unknown_job_type_is_400_and_names_the_supported_ones(client: Api) -> None:
    answer = client.post("/v1/client/jobs", {"job_type": "mining"})

    assert (answer.status, answer.error) == (400, "INVALID_JOB_TYPE")
    assert "llm_inference" in answer.json["error"]["details"]["supported"]


def test_only_keys_of_users_may_set_a_price(client: Api) -> None:
    answer = client.post("/v1/client/jobs", {"job_type": "custom", "max_price": "1.5"})

    assert (answer.status, answer.error) == (403, "FORBIDDEN")


def test_a_client_does_not_see_the_jobs_of_another(api: Api) -> None:
    job_id = api.as_(CLIENT).submit()["id"]
    other = api.as_(OTHER_CLIENT)

    for path in ("", "/status", "/result", "/receipts"):
        assert other.get(f"/v1/client/jobs/{job_id}{path}").error == "JOB_NOT_FOUND"
    assert other.post(f"/v1/client/jobs/{job_id}/cancel").error == "JOB_NOT_FOUND"
    assert other.get("/v1/client/jobs").json["items"] == []


@pytest.mark.parametrize("job_id", ["nix", "%00", "..", "01a20e16-96db-735a-9dcf-bc8386955752", "A" * 5000])
def test_ids_that_nobody_has_are_not_found(client: Api, job_id: str) -> None:
    assert client.get(f"/v1/client/jobs/{job_id}/status").status in (404, 422)


def test_a_list_is_newest_first_filtered_and_paged_without_gaps(client: Api) -> None:
    ids = [client.submit(job_type=job_type)["id"] for job_type in ("custom", "training", "custom", "custom")]

    first = client.get("/v1/client/jobs?limit=2&job_type=custom&status=pending").json
    second = client.get(f"/v1/client/jobs?limit=2&job_type=custom&cursor={first['next_cursor']}").json

    assert [job["id"] for job in first["items"] + second["items"]] == [ids[3], ids[2], ids[0]]
    assert second["next_cursor"] is None
    assert client.get("/v1/client/jobs?status=failed").json == {"items": [], "next_cursor": None}


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "cursor=x", "status=done"])
def test_a_wrong_list_query_is_422(client: Api, query: str) -> None:
    answer = client.get(f"/v1/client/jobs?{query}")

    assert (answer.status, answer.error) == (422, "VALIDATION_ERROR")
    assert answer.json["error"]["details"]["errors"]


def test_a_result_is_425_until_there_is_one(client: Api) -> None:
    answer = client.get(f"/v1/client/jobs/{client.submit()['id']}/result")

    assert (answer.status, answer.error) == (425, "JOB_NOT_READY")


def test_waiting_for_a_status_ends_with_the_time(client: Api) -> None:
    job_id = client.submit()["id"]

    began = time.monotonic()
    status = client.get(f"/v1/client/jobs/{job_id}/status?wait=0.3").json["status"]

    assert status == "pending"
    assert time.monotonic() - began >= 0.3


def test_waiting_for_a_status_ends_when_it_was_another_in_between(client: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = client.submit()["id"]
    looks = []

    async def be_taken_and_come_back(_seconds: float) -> None:
        looks.append(job_id)
        taken = update(jobs).where(jobs.c.id == job_id).values(attempts=jobs.c.attempts + 1)
        database().write(lambda tx: tx.execute(taken))

    monkeypatch.setattr("coordinator.jobs.service.asyncio.sleep", be_taken_and_come_back)
    status = client.get(f"/v1/client/jobs/{job_id}/status?wait=25").json

    assert (status["status"], status["attempts"], len(looks)) == ("pending", 1, 1)


def test_a_cancelled_job_is_failed_and_cancelling_again_says_the_same(client: Api) -> None:
    job_id = client.submit()["id"]

    first = client.post(f"/v1/client/jobs/{job_id}/cancel")
    again = client.post(f"/v1/client/jobs/{job_id}/cancel")

    assert (first.status, first.json["status"], first.json["error"]["code"]) == (200, "failed", "CANCELLED")
    assert (again.status, again.json) == (200, first.json)
    result = client.get(f"/v1/client/jobs/{job_id}/result")
    assert (result.status, result.json["result"], result.json["receipt"]) == (200, None, None)
    assert result.json["error"]["code"] == "CANCELLED"


def test_a_job_past_its_time_to_live_cannot_be_cancelled(client: Api) -> None:
    job = client.submit(ttl_seconds=30)
    let_pass(31)

    unseen = client.post(f"/v1/client/jobs/{job['id']}/cancel")

    assert (unseen.status, unseen.error, unseen.json["error"]["details"]) == (409, "JOB_FINISHED", {"status": "failed"})
    assert client.job(job["id"])["error"]["code"] == "EXPIRED"


def test_a_finished_job_cannot_be_cancelled(client: Api, miner: Api) -> None:
    job_id = client.submit()["id"]
    miner.register()
    miner.answer(miner.poll()[0])

    answer = client.post(f"/v1/client/jobs/{job_id}/cancel")

    assert (answer.status, answer.error) == (409, "JOB_FINISHED")
    assert client.job(job_id)["status"] == "completed"


def test_a_job_past_its_time_to_live_is_failed_when_asked_for(client: Api) -> None:
    job_id = client.submit(ttl_seconds=10)["id"]

    let_pass(11)

    job = client.job(job_id)
    assert (job["status"], job["error"]["code"]) == ("failed", "EXPIRED")


def test_jobs_are_there_after_a_restart(client: Api) -> None:
    job = client.submit(parameters={"text": "é ☃ 𝄞", "n": [1, 2.5, None, True]})
    forget_process_state()

    assert client.job(job["id"]) == job


def eligible(client: Api, job: dict[str, Any]) -> int:
    return int(client.get(f"/v1/client/jobs/{job['id']}/status").json["eligible_miners"])


def test_the_status_counts_the_miners_that_could_run_the_job(client: Api, miner: Api) -> None:
    anywhere, far = client.submit(), client.submit(constraints={"region": "mars"})
    assert (eligible(client, anywhere), eligible(client, far)) == (0, 0)

    for number in range(3):
        miner.register(f"ait1-{number}")
    miner.register("ait1-far", region=" Mars ")
    miner.register("ait1-other", capabilities=["training"])
    miner.register("ait1-dear", price="0.5")

    assert (eligible(client, anywhere), eligible(client, far)) == (4, 1)


@pytest.mark.parametrize("gone", ["deregistered", "silent"])
def test_miners_that_are_gone_are_not_counted(client: Api, miner: Api, gone: str) -> None:
    job = client.submit()
    miner.register()
    assert eligible(client, job) == 1

    if gone == "silent":
        let_pass(91)
    else:
        miner.post("/v1/miner/deregister")

    assert eligible(client, job) == 0
