"""Creating POSTs with an Idempotency-Key: one effect, and its answer for everyone who repeats the request."""

import multiprocessing
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, text

from tests.api import BOTH, CLIENT, OTHER_CLIENT, Answer, Api, let_pass
from tests.bench.processes import together
from tests.integration.keyed import HOUR_SECONDS, JOBS, count, is_replay, submit, submit_and_die, submit_each, sweep

KEY = "3f0e6a52-key"
postgres_only = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


def test_a_repeated_request_gets_the_first_answer_and_makes_nothing(client: Api) -> None:
    first, again = submit(client, KEY), submit(client, KEY)

    assert (first.status, again.status) == (201, 201)
    assert again.text == first.text
    assert again.headers["location"] == first.headers["location"] == f"{JOBS}/{first.json['id']}"
    assert again.headers["content-type"] == first.headers["content-type"] == "application/json"
    assert (is_replay(first), is_replay(again)) == (False, True)
    assert [job["id"] for job in client.get(JOBS).json["items"]] == [first.json["id"]]


def test_the_answer_stays_what_it_was_whatever_became_of_its_job(client: Api) -> None:
    first = submit(client, KEY)
    client.post(f"{first.headers['location']}/cancel")

    assert submit(client, KEY).json["status"] == "pending"
    assert client.job(first.json["id"])["status"] == "failed"


def test_without_a_key_a_repeated_request_is_another_one(client: Api) -> None:
    first, again = (client.post(JOBS, {"job_type": "custom"}) for _ in range(2))

    assert first.json["id"] != again.json["id"]


def test_a_request_without_a_key_makes_no_statement_more(client: Api) -> None:
    from coordinator.core.database import database

    client.submit()
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(database().engine, "before_cursor_execute", note)
    client.submit()
    event.remove(database().engine, "before_cursor_execute", note)

    assert any("jobs" in statement for statement in statements)
    assert not [statement for statement in statements if "idempotency" in statement or "advisory" in statement]


def test_the_key_with_another_body_is_refused(client: Api) -> None:
    submit(client, KEY)

    answer = client.post(JOBS, {"job_type": "custom", "priority": 9}, headers={"idempotency-key": KEY})

    assert (answer.status, answer.error) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert count("jobs") == 1


def test_the_key_at_another_path_is_refused(api: Api) -> None:
    both = api.as_(BOTH)
    # Either route takes this, and passes over what it doesn't know.
    body = {"job_type": "custom", "address": "ait1one", "capabilities": ["custom"]}
    both.post(JOBS, body, headers={"idempotency-key": KEY})

    answer = both.post("/v1/miner/register", body, headers={"idempotency-key": KEY})

    assert (answer.status, answer.error) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert count("miners") == 0


@pytest.mark.parametrize("path", [JOBS, f"/api{JOBS}"])
@pytest.mark.parametrize(
    "raw",
    [
        '{"parameters":{"a":1,"b":"\u00fc"},"job_type":"custom"}',
        ' {"job_type": "custom",\n "parameters": {"b": "\\u00fc", "a": 1.0}} ',
    ],
)
def test_the_same_json_written_otherwise_is_the_same_request(client: Api, path: str, raw: str) -> None:
    body = {"job_type": "custom", "parameters": {"a": 1, "b": "ü"}}
    first = client.post(JOBS, body, headers={"idempotency-key": KEY})

    again = client.post(path, raw=raw, headers={"idempotency-key": KEY})

    assert (again.status, again.text, is_replay(again)) == (201, first.text, True)


def test_keys_of_different_principals_have_nothing_to_do_with_each_other(api: Api) -> None:
    first, other = (submit(api.as_(key), KEY) for key in (CLIENT, OTHER_CLIENT))

    assert (first.status, other.status, is_replay(other)) == (201, 201, False)
    assert first.json["id"] != other.json["id"]


@pytest.mark.parametrize("key", ["", "x" * 256, "schlüssel", "a\tb", "a\x7f"])
def test_a_key_that_is_not_1_to_255_printable_ascii_characters_is_422(client: Api, key: str) -> None:
    answer = submit(client, key)

    assert (answer.status, answer.error) == (422, "VALIDATION_ERROR")
    assert answer.json["error"]["details"]["errors"][0]["loc"] == ["header", "Idempotency-Key"]
    assert count("jobs") == 0


@pytest.mark.parametrize("key", ["k", " !~", "x" * 255])
def test_a_key_may_be_any_1_to_255_printable_ascii_characters(client: Api, key: str) -> None:
    assert submit(client, key).text == submit(client, key).text


def test_a_number_that_can_t_be_compared_is_422(client: Api) -> None:
    raw = '{"job_type": "custom", "ignored": 9007199254740993}'

    answer = client.post(JOBS, raw=raw, headers={"idempotency-key": KEY})

    assert (answer.status, answer.error) == (422, "VALIDATION_ERROR")
    assert answer.json["error"]["details"]["errors"][0]["type"] == "not_canonical_json"
    assert client.post(JOBS, raw=raw).status == 201


def test_a_result_is_answered_with_201_again_though_it_would_be_200(client: Api, miner: Api) -> None:
    client.submit()
    miner.register()
    body = {"job_id": miner.poll()[0]["id"], "result": "x" * 1_000_000}
    first, again = (miner.post("/v1/miner/result", body, headers={"idempotency-key": KEY}) for _ in range(2))

    assert (first.status, again.status, again.text) == (201, 201, first.text)
    assert miner.post("/v1/miner/result", body).status == 200
    assert count("receipts") == 1


def test_a_repeated_registration_gives_no_leases_back(client: Api, miner: Api) -> None:
    client.submit()
    body = {"address": "ait1one", "capabilities": ["llm_inference"]}
    first = miner.post("/v1/miner/register", body, headers={"idempotency-key": KEY})
    assignment = miner.poll()[0]

    again = miner.post("/v1/miner/register", body, headers={"idempotency-key": KEY})

    assert (first.status, again.status, again.text) == (201, 201, first.text)
    assert miner.post("/v1/miner/heartbeat").json["leases"][0]["job_id"] == assignment["id"]
    assert miner.post("/v1/miner/register", body, headers={"idempotency-key": "another"}).status == 200
    assert miner.post("/v1/miner/heartbeat").json["leases"] == []


def test_an_error_is_not_kept(client: Api, miner: Api) -> None:
    miner.register()
    body = {"job_id": client.submit()["id"], "result": 1}
    early = miner.post("/v1/miner/result", body, headers={"idempotency-key": KEY})
    miner.poll()

    answer = miner.post("/v1/miner/result", body, headers={"idempotency-key": KEY})

    assert (early.status, early.error) == (404, "JOB_NOT_FOUND")
    assert (answer.status, is_replay(answer)) == (201, False)


def test_a_failing_commit_leaves_neither_the_effect_nor_the_key(client: Api) -> None:
    from coordinator.core.database import database

    client.get(JOBS)

    def fail(_connection: object) -> None:
        raise OSError("disk on fire")

    event.listen(database().engine, "commit", fail)
    failed = submit(client, KEY)
    event.remove(database().engine, "commit", fail)

    assert (failed.status, count("jobs"), count("idempotency_keys")) == (500, 0, 0)
    # A pooler may take a moment to end the transaction of who has left.
    until = time.monotonic() + 10
    while (answer := submit(client, KEY)).status == 409 and time.monotonic() < until:
        time.sleep(0.1)
    assert (answer.status, is_replay(answer), count("jobs")) == (201, False, 1)


def test_an_answer_is_given_for_24_hours_though_nobody_sweeps(client: Api) -> None:
    first = submit(client, KEY)
    let_pass(24 * HOUR_SECONDS - 60)
    assert submit(client, KEY).text == first.text
    let_pass(60)

    new = submit(client, KEY)

    assert (new.status, is_replay(new)) == (201, False)
    assert new.json["id"] != first.json["id"]
    assert submit(client, KEY).text == new.text


def test_after_24_hours_the_key_may_come_with_another_body(client: Api) -> None:
    submit(client, KEY)
    let_pass(24 * HOUR_SECONDS)

    assert client.post(JOBS, {"job_type": "training"}, headers={"idempotency-key": KEY}).status == 201


def test_the_schedule_forgets_what_is_older_than_24_hours(client: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    import miner.heartbeats

    monkeypatch.setattr(miner.heartbeats, "_BATCH", 2)
    for key in "abcde":
        submit(client, key)
    let_pass(HOUR_SECONDS)
    young = submit(client, "young")
    let_pass(23 * HOUR_SECONDS)

    assert (sweep(), sweep()) == (5, 0)
    assert count("idempotency_keys") == 1
    assert submit(client, "young").text == young.text


def test_one_run_of_the_schedule_forgets_a_bounded_number(client: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    import miner.heartbeats

    monkeypatch.setattr(miner.heartbeats, "_BATCH", 2)
    monkeypatch.setattr(miner.heartbeats, "_MAX_BATCHES", 2)
    for key in "abcde":
        submit(client, key)
    let_pass(24 * HOUR_SECONDS)

    assert (sweep(), sweep()) == (4, 1)


@postgres_only
def test_to_forget_reads_only_what_is_old(client: Api) -> None:
    from coordinator.core import clock
    from coordinator.core.database import database
    from coordinator.idempotency.service import forget_old

    fill = """
        INSERT INTO idempotency_keys (principal_id, key, request_sha256, status, headers, body, created_us)
        SELECT 'p', n, '', 201, '{}', repeat('x', 1000), :now + n FROM generate_series(1, 5000) AS n
    """
    now = clock.machine_now_us()
    database().write(lambda tx: tx.execute(text(fill), {"now": now}))
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    event.listen(database().engine, "before_cursor_execute", note)
    database().write(lambda tx: forget_old(tx, now, 200))
    event.remove(database().engine, "before_cursor_execute", note)

    [(statement, parameters)] = statements
    plan = "\n".join(database().read(lambda tx: tx.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars().all()))
    assert "idempotency_keys_age" in plan
    assert "Seq Scan" not in plan


@postgres_only
def test_while_the_first_request_runs_others_are_asked_to_come_again(client: Api, database_url: str) -> None:
    from coordinator.core.database import Database
    from coordinator.idempotency.service import KeyedRequest, first_answer

    principal_id = client.submit()["client_id"]
    elsewhere = Database(database_url)

    def meanwhile(tx: Any) -> list[Answer]:
        assert first_answer(tx, KeyedRequest(principal_id, KEY, "")) is None
        return [submit(client, KEY), submit(client, "another")]

    answer, other = elsewhere.write(meanwhile)
    elsewhere.close()

    assert (answer.status, answer.error, answer.headers["retry-after"]) == (409, "IDEMPOTENCY_IN_PROGRESS", "1")
    assert other.status == 201
    assert submit(client, KEY).status == 201


def test_of_many_requests_at_once_one_has_an_effect_and_all_get_its_answer(client: Api) -> None:
    keys = [f"key-{number}" for number in range(10)]

    answers = together(*[(submit_each, (keys,))] * 8)

    for key, of_key in zip(keys, zip(*answers, strict=True), strict=True):
        given = [answer for answer in of_key if answer.status == 201]
        others = [answer for answer in of_key if answer.status != 201]
        assert [is_replay(answer) for answer in given].count(False) == 1
        assert {answer.error for answer in others} <= {"IDEMPOTENCY_IN_PROGRESS"}
        assert {answer.text for answer in given} == {submit(client, key).text}
    assert count("jobs") == len(keys)


@pytest.mark.parametrize(("moment", "jobs_left"), [("before", 0), ("after", 1)])
def test_a_request_whose_process_was_killed_can_be_repeated(client: Api, moment: str, jobs_left: int) -> None:
    process = multiprocessing.get_context("spawn").Process(target=submit_and_die, args=(moment, KEY))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert (count("jobs"), count("idempotency_keys")) == (jobs_left, jobs_left)

    answer = until_judged(lambda: submit(client, KEY))

    assert (answer.status, is_replay(answer)) == (201, jobs_left == 1)
    assert client.get(JOBS).json["items"] == [answer.json]


def until_judged(call: Callable[[], Answer]) -> Answer:
    """A server may take a moment to see that the first one is dead."""
    for _ in range(100):
        answer = call()
        if answer.status != 409:
            break
        time.sleep(0.05)
    return answer


# A challenge is created anew for each login and a repetition of it would be of no use.
NOT_CREATING = {"/v1/users/challenge"}


def test_every_post_that_creates_takes_a_key_and_no_other_call_does(api: Api) -> None:
    creating, keyed = set(), set()
    for path, operations in api.get("/openapi.json").json["paths"].items():
        for method, operation in operations.items():
            if method == "post" and "201" in operation["responses"] and path not in NOT_CREATING:
                creating.add((method, path))
            if any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", [])):
                keyed.add((method, path))

    assert ("post", JOBS) in creating
    assert keyed == creating
