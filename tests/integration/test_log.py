"""What the functions log: one line for each request, and nothing that is secret."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import text

from coordinator.core.database import database
from coordinator.core.log import logger
from coordinator.http import journal
from tests.api import CLIENT, MINER, OTHER_CLIENT, SECRET_KEY, Api

JOBS = "/v1/client/jobs"
RESULT = "/v1/miner/result"
# It stands in the place of parameters, results, tokens, signatures and everything else that is nobody's business.
SECRET = "this-is-nobodys-business"
KEY_OF_NOBODY = "0b3e5a52-7d3c-4b9e-9b6e-1f2d3c4b5a69"

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def log(api: Api) -> Iterator[io.StringIO]:
    """All that is logged, as it would stand in CloudWatch."""
    handler = logger.registered_handler
    written = io.StringIO()
    before = handler.setStream(written)  # type: ignore[attr-defined]
    yield written
    handler.setStream(before)  # type: ignore[attr-defined]


@pytest.fixture
def lines(log: io.StringIO) -> Lines:
    return lambda: [json.loads(line) for line in log.getvalue().splitlines()]


def test_each_request_has_one_line(lines: Lines, api: Api, client: Api) -> None:
    job_id = client.submit()["id"]
    client.get(f"/api{JOBS}/{job_id}", headers={"x-request-id": "mine"})
    api.get("/nothing")

    submitted, read, unknown = lines()
    job = client.job(job_id)

    assert (submitted["level"], submitted["message"]) == ("INFO", "request")
    assert submitted["group"] == "client"
    assert (submitted["method"], submitted["route"], submitted["status"]) == ("POST", JOBS, 201)
    assert submitted["duration_ms"] > 0
    assert (submitted["request_id"], read["request_id"]) == ("gateway-id", "mine")
    assert submitted["principal_id"] == read["principal_id"] == job["client_id"]
    assert submitted["job_id"] == read["job_id"] == job_id
    assert (unknown["route"], unknown["status"]) == ("unknown", 404)
    assert not {"principal_id", "job_id", "miner_id"}.intersection(unknown)


def test_libraries_add_no_line_where_lambda_prints_all_that_is_info(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    api.get("/health")

    assert [record.name for record in caplog.records if record.name != logger.name] == []


def test_lines_of_miners_name_miner_and_job(lines: Lines, client: Api, miner: Api) -> None:
    client.submit()
    me = miner.register()["id"]
    [job] = miner.as_(MINER, me).poll()
    miner.as_(MINER, me).answer(job)

    answered = lines()[-1]

    assert (answered["route"], answered["status"]) == (RESULT, 201)
    assert (answered["miner_id"], answered["job_id"]) == (me, job["id"])


def test_an_error_is_logged_with_its_traceback_under_the_request_id(lines: Lines, client: Api) -> None:
    client.get(JOBS)
    database().write(lambda tx: tx.execute(text("ALTER TABLE jobs RENAME TO gone")))

    client.get(JOBS, headers={"x-request-id": "find-me"})

    error, request = lines()[-2:]
    assert (error["level"], error["message"], error["request_id"]) == ("ERROR", "request failed", "find-me")
    assert "in list_jobs" in error["exception"]
    assert "jobs" in error["exception"].splitlines()[-1]
    assert (request["request_id"], request["status"]) == ("find-me", 500)


def test_no_secret_is_logged_in_the_life_of_a_job(log: io.StringIO, api: Api, client: Api, miner: Api) -> None:
    job = client.submit(parameters={"prompt": SECRET}, constraints={"region": SECRET})
    miner.register(region=SECRET, name=SECRET, public_key="A" * 43)
    [assignment] = miner.poll()
    miner.post("/v1/miner/heartbeat", {"metrics": {"x": SECRET}})
    progress = {"percent": 5, "message": SECRET, "lease_token": assignment["lease_token"]}
    miner.post(f"/v1/miner/jobs/{job['id']}/progress", progress)
    refused = miner.answer(assignment, result=SECRET, signature=SECRET)
    miner.register(region=SECRET)
    [assignment_again] = miner.poll()
    taken = miner.answer(assignment_again, result=SECRET, metrics={"units": 1, "unit_type": SECRET})
    client.get(f"{JOBS}/{job['id']}/result")

    assert (refused.error, taken.status) == ("BAD_SIGNATURE", 201)
    tokens = {assignment["lease_token"], assignment_again["lease_token"]}
    assert not [secret for secret in {SECRET, SECRET_KEY, CLIENT, MINER, *tokens} if secret in log.getvalue()]


def test_no_secret_is_logged_that_stands_in_the_wrong_place(log: io.StringIO, api: Api, client: Api) -> None:
    headers = {"x-miner-id": SECRET, "authorization": f"Bearer {SECRET}", "x-session-token": SECRET, "cookie": SECRET}
    for key in (CLIENT, KEY_OF_NOBODY, OTHER_CLIENT, SECRET, MINER):
        caller = api.as_(key)
        for path in (f"{JOBS}/{key}", f"/{SECRET}", f"/{SECRET}/%00", f"{JOBS}?status={SECRET}&limit={key}"):
            caller.get(path, headers=headers)
        for body in ({"job_type": key}, {"job_type": "custom", "priority": SECRET, SECRET: key}, [key], SECRET):
            caller.post(JOBS, body, headers=headers)
        caller.post(JOBS, raw=f'{{"job_type": {SECRET}')
        caller.post(RESULT, {"job_id": key, "lease_token": SECRET, "status": SECRET})
        caller.call(SECRET, JOBS)

    assert log.getvalue().count('"message":"request"') == 5 * 11
    secrets = (SECRET, CLIENT, OTHER_CLIENT, MINER, KEY_OF_NOBODY)
    assert not [secret for secret in secrets if secret in log.getvalue()]


@pytest.mark.parametrize(
    "breakage",
    [
        # The statement fails with all its parameters.
        "ALTER TABLE jobs RENAME COLUMN constraints TO conditions",
        # Postgres quotes the row that breaks a constraint.
        "CREATE UNIQUE INDEX once ON jobs (parameters)",
    ],
)
def test_no_parameter_of_a_statement_that_fails_is_logged(log: io.StringIO, client: Api, breakage: str) -> None:
    client.submit(parameters={"prompt": SECRET})
    database().write(lambda tx: tx.execute(text(breakage)))

    answer = client.post(JOBS, {"job_type": "llm_inference", "parameters": {"prompt": SECRET}})

    assert answer.status == 500
    assert '"level":"ERROR"' in log.getvalue()
    assert SECRET not in log.getvalue()


def test_in_lambda_each_request_gives_figures_to_cloudwatch(
    api: Api, client: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(journal, "in_lambda", lambda: True)

    client.get(JOBS)
    database().write(lambda tx: tx.execute(text("ALTER TABLE jobs RENAME TO gone")))
    client.get(JOBS)

    fine, failed = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
    [directive] = fine["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "aitbc-coordinator"
    assert "group" in directive["Dimensions"][0]
    assert (fine["group"], fine["Requests"], fine["Errors"]) == ("client", [1], [0])
    assert fine["Duration"][0] > 0
    assert (failed["Requests"], failed["Errors"]) == ([1], [1])
