"""The whole API over HTTP as SAM CLI serves it: built functions in containers, over the database they are given."""

import json
from collections import defaultdict
from typing import Any

import pytest

from local.demo.verify import verify_receipt
from tests.api import ADMIN, CLIENT, MINER, Api
from tests.chain.regtest import Regtest
from tests.integration.logins import ALICE, ME, logged_in, new_key
from tests.money import balance
from tests.sam.calls import Sent, send
from tests.sam.conftest import Serve
from tests.sam.engine import Engine

pytestmark = pytest.mark.timeout(900)


def over_http(port: int) -> Api:
    """What tests call the functions by, but over HTTP."""

    def call(event: dict[str, Any], _context: None) -> dict[str, Any]:
        path = f"{event['rawPath']}?{event['rawQueryString']}".removesuffix("?")
        body = None if event["body"] is None else event["body"].encode()
        method = event["requestContext"]["http"]["method"]
        got = send(port, Sent(method, path, body, tuple(event["headers"].items())))
        headers = {name: ",".join(values) for name, values in got.headers.items()}
        return {"statusCode": got.status, "headers": headers, "body": got.body.decode()}

    return Api(handlers=defaultdict(lambda: call))


@pytest.fixture(params=["sqlite", "postgresql"])
def api(request: pytest.FixtureRequest, serve: Serve) -> Api:
    return over_http(serve(request.param))


def test_the_main_job_is_done_over_http(api: Api) -> None:
    client, miner = api.as_(CLIENT), api.as_(MINER)
    parameters = {"prompt": "The capital of France is"}

    submitted = client.post("/api/v1/client/jobs", {"job_type": "llm_inference", "parameters": parameters})
    miner.register()
    [assignment] = miner.poll()
    answered = miner.answer(assignment)
    told = client.get(f"/v1/client/jobs/{submitted.json['id']}/result?wait=5")
    statement = verify_receipt(
        told.json["receipt"], api.get("/.well-known/jwks.json").json, parameters, told.json["result"]
    )

    assert (submitted.status, submitted.headers["location"]) == (201, f"/api/v1/client/jobs/{submitted.json['id']}")
    assert (assignment["id"], answered.status) == (submitted.json["id"], 201)
    assert (told.status, told.json["status"], told.json["result"]) == (200, "completed", {"text": "Paris"})
    assert statement["job_id"] == submitted.json["id"]


def test_a_wallet_logs_in_and_its_new_key_submits_a_job(api: Api) -> None:
    user = logged_in(api)

    me = user.get(ME).json
    job = api.as_(new_key(user)["api_key"]).submit()

    assert me["wallet_address"] == ALICE.address.lower()
    assert job["status"] == "pending"


def test_what_a_user_pays_and_the_chain_confirms_is_in_the_balance(api: Api, engine: Engine, regtest: Regtest) -> None:
    if engine.gateway is None:
        pytest.skip("payments under SAM local (a rootless engine's containers don't reach this machine)")
    user = logged_in(api)

    asked = user.post("/api/v1/exchange/create-payment", {"aitbc_amount": "12.5"}).json
    regtest.pay((asked["address"], asked["amount_sat"]))
    regtest.mine(asked["confirmations_required"])
    paid = user.get(f"/v1/exchange/payment-status/{asked['payment_id']}").json
    picture = user.get(f"/v1/exchange/payments/{asked['payment_id']}/qr.svg")

    assert (paid["status"], paid["credited_aitbc"], paid["received_sat"]) == ("confirmed", "12.5", 12_500)
    assert balance(user, asked["user_id"])[0] == "12.5"
    assert (picture.status, picture.text[:5]) == (200, "<svg ")


def test_operators_see_the_numbers(api: Api) -> None:
    api.as_(CLIENT).submit()

    answer = api.as_(ADMIN).get("/api/v1/admin/stats")

    assert (answer.status, answer.json["jobs"]["pending"] > 0) == (200, True)


def test_health_pages_and_unknown_paths_are_answered(api: Api) -> None:
    paths = ("/health", "/api/health/ready", "/docs", "/api/openapi.json", "/nothing")

    answers = [api.get(path) for path in paths]

    assert [answer.status for answer in answers] == [200, 200, 200, 200, 404]
    assert json.loads(answers[-1].text)["error"]["code"] == "NOT_FOUND"
