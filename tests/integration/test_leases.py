"""Leases: one holder at a time, kept by heartbeats, given back on every way out."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from tests.api import BOTH, CLIENT, MINER, OTHER_MINER, Api, forget_process_state, let_pass


def test_a_poll_leases_the_job_to_the_miner(client: Api, miner: Api) -> None:
    job = client.submit(parameters={"prompt": "Hi"}, constraints={"region": "eu"}, timeout_seconds=30)
    me = miner.register(region="EU")

    answer = miner.get("/v1/miner/jobs")

    assignment = answer.json["items"][0]
    assert answer.headers["cache-control"] == "no-store"
    assert assignment == {
        "id": job["id"],
        "job_type": "llm_inference",
        "parameters": {"prompt": "Hi"},
        "constraints": {"region": "eu"},
        "attempt": 1,
        "lease_token": assignment["lease_token"],
        # Never past the attempt's own 30 s, though a lease lasts 60.
        "lease_expires_in_seconds": 30.0,
        "timeout_seconds": 30,
        "price": "0",
        "redelivered": False,
    }
    held = client.job(job["id"])
    assert (held["status"], held["miner_id"], held["attempts"]) == ("running", me["id"], 1)


def test_a_miner_at_its_limit_is_handed_what_it_holds_again(client: Api, miner: Api) -> None:
    first, second = (client.submit()["id"] for _ in range(2))
    miner.register()

    leased = miner.poll()[0]
    again = miner.poll()

    assert [(item["id"], item["redelivered"], item["lease_token"]) for item in again] == [
        (first, True, leased["lease_token"])
    ]
    assert client.job(second)["status"] == "pending"


def test_a_miner_never_holds_more_than_its_concurrency(client: Api, miner: Api) -> None:
    for _ in range(5):
        client.submit()
    miner.register(concurrency=3)

    assert len(miner.poll(limit=2)) == 2
    assert [item["redelivered"] for item in miner.poll()] == [False]
    assert [item["redelivered"] for item in miner.poll()] == [True, True, True]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_lease_begins_after_the_one_before_has_ended(
    client: Api, miner: Api, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coordinator.core.database import Database, database
    from coordinator.jobs import leases, queue
    from coordinator.users.keys import Role, authenticate

    job_id = client.submit()["id"]
    one, other = miner.register("ait1one")["id"], miner.register("ait1two")["id"]
    assert miner.as_(MINER, one).poll()
    other_process = Database(database_url)
    owner_id = authenticate(MINER, Role.MINER).id

    def give_back_meanwhile(*arguments: Any) -> list[str]:
        other_process.write(lambda tx: leases.deregister(tx, owner_id, one))
        return eligible_classes(*arguments)

    eligible_classes = queue.eligible_classes
    monkeypatch.setattr(queue, "eligible_classes", give_back_meanwhile)
    assert [item["id"] for item in miner.as_(MINER, other).poll()] == [job_id]
    other_process.close()

    times = text("SELECT started_us, ended_us FROM attempts ORDER BY attempt")
    first, second = database().read(lambda tx: tx.execute(times).all())
    assert first.ended_us <= second.started_us


def test_posting_the_poll_is_the_same(client: Api, miner: Api) -> None:
    job_id = client.submit()["id"]
    miner.register()

    assert miner.post("/v1/miner/jobs").json["items"][0]["id"] == job_id


def test_jobs_come_by_priority_then_by_age(client: Api, miner: Api) -> None:
    old, new, urgent = (
        client.submit(priority=p, constraints=c)["id"] for p, c in ((5, {}), (5, {}), (9, {"cuda": "12"}))
    )
    miner.register(concurrency=9, hardware={"gpus": [], "cuda": "12.4"})

    assert [item["id"] for item in miner.poll()] == [urgent, old, new]


@pytest.mark.parametrize(
    ("constraints", "served"),
    [
        ({}, True),
        ({"models": ["llama"]}, True),
        ({"models": ["llama", "mistral"]}, True),
        ({"models": ["llama", "qwen"]}, False),
        ({"gpu": "rtx 4090"}, True),
        ({"gpu": "A100"}, False),
        ({"min_vram_gb": 24}, True),
        ({"min_vram_gb": 24.5}, False),
        ({"gpu": "T4", "min_vram_gb": 20}, False),
        ({"cuda": "12.4"}, True),
        ({"cuda": "12"}, True),
        ({"cuda": "1"}, False),
        ({"cuda": "11.8"}, False),
        ({"region": "EU-West"}, True),
        ({"region": "us"}, False),
    ],
)
def test_all_constraints_must_hold(client: Api, miner: Api, constraints: dict[str, object], served: bool) -> None:
    client.submit(constraints=constraints)
    miner.register(
        capabilities=["custom", {"job_type": "llm_inference", "models": ["mistral", "llama"]}],
        hardware={
            "gpus": [{"name": "NVIDIA GeForce RTX 4090", "memory_mb": 24576}, {"name": "T4", "memory_mb": 16384}],
            "cuda": "12.4.1",
        },
        region="eu-west",
    )

    assert bool(miner.poll()) is served


def test_a_job_type_that_the_miner_lacks_waits_for_another(api: Api, client: Api, miner: Api) -> None:
    job_id = client.submit(job_type="training")["id"]
    miner.register()
    other = api.as_(OTHER_MINER)
    other.register(capabilities=["training"])

    assert miner.poll() == []
    assert other.poll()[0]["id"] == job_id


def test_a_miner_with_a_price_gets_no_free_job(client: Api, miner: Api) -> None:
    client.submit()
    miner.register(price="0.00000001")

    assert miner.poll() == []


def test_an_expired_lease_goes_to_the_next_miner_even_if_no_schedule_runs(api: Api, client: Api, miner: Api) -> None:
    client.submit()
    miner.register()
    lost = miner.poll()[0]
    other = api.as_(OTHER_MINER)
    other.register()

    let_pass(61)
    taken = other.poll()[0]

    assert (taken["id"], taken["attempt"]) == (lost["id"], 2)
    assert taken["lease_token"] != lost["lease_token"]


def test_a_lease_that_ends_with_the_last_attempt_fails_the_job(client: Api, miner: Api) -> None:
    job_id = client.submit(max_attempts=1)["id"]
    miner.register()
    miner.poll()

    let_pass(61)

    job = client.job(job_id)
    assert (job["status"], job["error"]["code"]) == ("failed", "ATTEMPTS_EXHAUSTED")


def test_a_heartbeat_lists_and_renews_the_leases(client: Api, miner: Api) -> None:
    client.submit()
    miner.register()
    leased = miner.poll()[0]

    let_pass(40)
    answer = miner.post("/v1/miner/heartbeat", {"status": "busy", "inflight": 1, "metrics": {"gpu_load": 0.9}}).json
    let_pass(40)

    assert answer["leases"] == [
        {"job_id": leased["id"], "lease_token": leased["lease_token"], "expires_in_seconds": 60.0}
    ]
    assert (answer["status"], answer["heartbeat_interval_seconds"]) == ("active", 30)
    assert client.job(leased["id"])["status"] == "running"


def test_a_heartbeat_that_names_its_jobs_renews_only_those(client: Api, miner: Api) -> None:
    for _ in range(2):
        client.submit()
    miner.register(concurrency=2)
    known, lost = miner.poll()

    let_pass(40)
    miner.post("/v1/miner/heartbeat", {"inflight": [known["id"]]})
    let_pass(40)

    assert client.job(known["id"])["status"] == "running"
    assert client.job(lost["id"])["status"] == "pending"


def test_no_renewal_goes_past_the_attempts_own_time(client: Api, miner: Api) -> None:
    job_id = client.submit(timeout_seconds=70)["id"]
    miner.register()
    leased = miner.poll()[0]

    let_pass(50)
    renewed = miner.post(f"/v1/miner/jobs/{job_id}/progress", {"lease_token": leased["lease_token"], "percent": 10})
    let_pass(21)

    assert 19 < renewed.json["lease_expires_in_seconds"] <= 20
    assert client.job(job_id)["status"] == "pending"


def test_progress_is_shown_and_renews_the_lease(client: Api, miner: Api) -> None:
    job_id = client.submit()["id"]
    miner.register()
    miner.poll()

    let_pass(50)
    answer = miner.post(f"/v1/miner/jobs/{job_id}/progress", {"percent": 62.5, "message": "62 of 100 tokens"})

    assert answer.json == {"lease_expires_in_seconds": 60.0, "cancelled": False}
    status = client.get(f"/v1/client/jobs/{job_id}/status").json
    assert status["progress"] == {"percent": 62.5, "message": "62 of 100 tokens"}


def test_progress_by_a_stale_lease_is_refused(api: Api, client: Api, miner: Api) -> None:
    job_id = client.submit()["id"]
    miner.register()
    stale = miner.poll()[0]
    other = api.as_(OTHER_MINER)
    other.register()
    let_pass(61)
    other.poll()

    answer = miner.post(f"/v1/miner/jobs/{job_id}/progress", {"lease_token": stale["lease_token"], "percent": 1})

    assert (answer.status, answer.error) == (409, "LEASE_LOST")


def test_progress_after_the_jobs_time_to_live_is_refused(client: Api, miner: Api) -> None:
    job_id = client.submit(ttl_seconds=30)["id"]
    miner.register()
    miner.poll()
    let_pass(31)

    answer = miner.post(f"/v1/miner/jobs/{job_id}/progress", {"percent": 50})

    assert (answer.status, answer.error) == (409, "LEASE_LOST")
    assert client.job(job_id)["error"]["code"] == "EXPIRED"


@pytest.mark.parametrize("change", [lambda token: token[:-1], lambda token: token + "0", lambda token: "é" * 32])
def test_progress_by_a_token_that_is_not_quite_the_leases_is_refused(
    client: Api, miner: Api, change: Callable[[str], str]
) -> None:
    job_id = client.submit()["id"]
    miner.register()
    token = change(miner.poll()[0]["lease_token"])

    answer = miner.post(f"/v1/miner/jobs/{job_id}/progress", {"lease_token": token, "percent": 1})

    assert (answer.status, answer.error) == (409, "LEASE_LOST")


def test_progress_on_a_job_that_the_miner_never_held_is_not_found(client: Api, miner: Api) -> None:
    job_id = client.submit()["id"]
    miner.register()

    assert miner.post(f"/v1/miner/jobs/{job_id}/progress", {"percent": 1}).error == "JOB_NOT_FOUND"


def test_a_miner_learns_of_a_cancellation_by_heartbeat_progress_and_result(client: Api, miner: Api) -> None:
    job_id = client.submit()["id"]
    miner.register()
    leased = miner.poll()[0]

    client.post(f"/v1/client/jobs/{job_id}/cancel")

    assert miner.post("/v1/miner/heartbeat").json["cancelled_jobs"] == [job_id]
    progress = miner.post(f"/v1/miner/jobs/{job_id}/progress", {"percent": 1}).json
    assert progress == {"lease_expires_in_seconds": 0.0, "cancelled": True}
    result = miner.answer(leased)
    assert (result.status, result.error) == (409, "JOB_CANCELLED")


def test_a_miner_that_stays_silent_is_inactive_and_its_leases_return(client: Api, miner: Api) -> None:
    job_id = client.submit(timeout_seconds=3600)["id"]
    miner.register()
    leased = miner.poll()[0]
    for _ in range(2):
        let_pass(50)
        # Progress keeps the lease, but only a heartbeat keeps the miner.
        miner.post(f"/v1/miner/jobs/{job_id}/progress", {"lease_token": leased["lease_token"], "percent": 1})

    from miner.heartbeats import handler

    assert handler({}, None) == {"expired_jobs": 0, "expired_leases": 0, "silent_miners": 1, "forgotten_answers": 0}
    assert miner.get("/v1/miner/me").json["status"] == "inactive"
    assert client.job(job_id)["status"] == "pending"
    assert miner.poll()[0]["id"] == job_id
    assert miner.get("/v1/miner/me").json["status"] == "active"


def test_the_first_poll_after_a_silence_makes_the_miner_active_again(client: Api, miner: Api) -> None:
    job_id = client.submit(timeout_seconds=3600)["id"]
    miner.register()
    lost = miner.poll()[0]
    let_pass(50)
    miner.post(f"/v1/miner/jobs/{job_id}/progress", {"lease_token": lost["lease_token"], "percent": 1})
    let_pass(50)

    taken = miner.poll()[0]

    assert (taken["id"], taken["attempt"], taken["redelivered"]) == (job_id, 2, False)
    assert miner.get("/v1/miner/me").json["status"] == "active"


def test_the_schedule_ends_what_the_clock_has_ended(client: Api, miner: Api) -> None:
    overdue, leased = client.submit(ttl_seconds=5)["id"], client.submit(priority=9)["id"]
    miner.register()
    miner.poll()

    let_pass(61)
    miner.post("/v1/miner/heartbeat", {"inflight": []})
    from miner.heartbeats import handler

    assert handler({}, None) == {"expired_jobs": 1, "expired_leases": 1, "silent_miners": 0, "forgotten_answers": 0}
    assert client.job(overdue)["error"]["code"] == "EXPIRED"
    assert client.job(leased)["status"] == "pending"
    assert handler({}, None) == {"expired_jobs": 0, "expired_leases": 0, "silent_miners": 0, "forgotten_answers": 0}


def test_registering_again_keeps_the_id_and_returns_the_leases(client: Api, miner: Api) -> None:
    job_id = client.submit()["id"]
    first = miner.register(endpoint="http://miner.test")
    miner.poll()

    again = miner.post(
        "/v1/miner/register",
        {"address": "ait1one", "endpoint": "http://miner.test", "capabilities": ["custom"], "concurrency": 2},
    )

    assert (again.status, again.json["id"], again.json["concurrency"]) == (200, first["id"], 2)
    assert client.job(job_id)["status"] == "pending"
    assert miner.poll() == []


def test_a_deregistered_miner_gives_its_leases_back_and_must_register_again(client: Api, miner: Api) -> None:
    job_id = client.submit()["id"]
    me = miner.register()
    miner.poll()

    gone = miner.post("/v1/miner/deregister")

    assert (gone.status, gone.json["status"]) == (200, "inactive")
    assert client.job(job_id)["status"] == "pending"
    assert miner.get("/v1/miner/jobs").error == "MINER_NOT_FOUND"
    assert miner.post("/v1/miner/heartbeat").error == "MINER_NOT_FOUND"
    assert miner.get("/v1/miner/me").json["status"] == "inactive"
    assert miner.register()["id"] == me["id"]
    assert miner.poll()[0]["id"] == job_id


def test_a_key_with_several_miners_must_name_one(api: Api, client: Api) -> None:
    client.submit()
    key = api.as_(MINER)
    first, second = key.register("ait1one")["id"], key.register("ait1two")["id"]

    unnamed = key.get("/v1/miner/jobs")

    assert first != second
    assert (unnamed.status, unnamed.error) == (400, "MINER_ID_REQUIRED")
    assert api.as_(MINER, second).get("/v1/miner/me").json["address"] == "ait1two"
    assert len(api.as_(MINER, first).poll()) == 1


def test_a_miner_of_another_key_is_not_found(api: Api, miner: Api) -> None:
    stranger = api.as_(OTHER_MINER, miner.register()["id"])

    for answer in (stranger.get("/v1/miner/me"), stranger.get("/v1/miner/jobs"), stranger.post("/v1/miner/heartbeat")):
        assert (answer.status, answer.error) == (404, "MINER_NOT_FOUND")


def test_idle_miners_are_told_to_ask_later_and_busy_ones_soon(client: Api, miner: Api) -> None:
    miner.register()
    fresh = miner.get("/v1/miner/jobs").json["poll_after_seconds"]
    let_pass(3600)
    idle = miner.get("/v1/miner/jobs").json["poll_after_seconds"]
    client.submit()
    busy = miner.get("/v1/miner/jobs").json["poll_after_seconds"]

    assert 0 < busy < fresh < idle <= 10


def test_a_key_with_both_roles_may_do_both(api: Api) -> None:
    both = api.as_(BOTH)
    job_id = both.submit()["id"]
    both.register()

    assert both.poll()[0]["id"] == job_id


@pytest.mark.parametrize(
    "wrong",
    [
        {"address": ""},
        {"capabilities": []},
        {"capabilities": [5]},
        {"capabilities": "llm_inference"},
        {"concurrency": 0},
        {"concurrency": "1"},
        {"price": 1.5},
        {"price": "-1"},
        {"price": "0.000000001"},
        {"public_key": "short"},
        {"public_key": "!" * 43},
        {"hardware": {"gpus": [{"memory_mb": 1}]}},
    ],
)
def test_a_wrong_registration_is_422_and_registers_nothing(api: Api, wrong: dict[str, object]) -> None:
    miner = api.as_(MINER)

    answer = miner.post("/v1/miner/register", {"address": "ait1one", "capabilities": ["custom"], **wrong})

    assert (answer.status, answer.error) == (422, "VALIDATION_ERROR")
    assert miner.get("/v1/miner/me").error == "MINER_NOT_FOUND"
    assert api.as_(CLIENT).get("/v1/miner/me").error == "FORBIDDEN"


def test_the_more_miners_are_idle_the_longer_each_waits(miner: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDLE_POLLS_PER_SECOND", "2")
    forget_process_state()
    ids = [miner.register(f"ait1-{number}")["id"] for number in range(8)]

    waits = {miner.as_(MINER, ids[0]).get("/v1/miner/jobs").json["poll_after_seconds"] for _ in range(20)}

    # 8 miners at 2 polls a second: one each 4 s, and jitter only makes it longer, so that the rate holds.
    assert min(waits) >= 4
    assert max(waits) <= 5
    assert len(waits) > 1


def test_a_miner_that_gets_work_asks_again_at_once_however_many_are_idle(
    client: Api, miner: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDLE_POLLS_PER_SECOND", "1")
    forget_process_state()
    ids = [miner.register(f"ait1-{number}", concurrency=2)["id"] for number in range(5)]
    client.submit()

    assert miner.as_(MINER, ids[0]).get("/v1/miner/jobs").json["poll_after_seconds"] == 0.1


def test_a_pile_of_overdue_jobs_is_cleared_in_bounded_steps(client: Api, miner: Api) -> None:
    overdue = [client.submit(ttl_seconds=5)["id"] for _ in range(100)]
    alive = client.submit()["id"]
    miner.register()
    let_pass(6)

    first = miner.get("/v1/miner/jobs").json

    assert (first["items"], first["poll_after_seconds"]) == ([], 0.1)
    assert miner.poll()[0]["id"] == alive
    assert {client.job(job_id)["error"]["code"] for job_id in overdue} == {"EXPIRED"}
