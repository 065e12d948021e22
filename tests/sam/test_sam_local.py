"""The whole API over HTTP as SAM CLI serves it: built functions in containers, over the database they are given."""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from local.demo.verify import verify_receipt
from tests.api import ADMIN, CLIENT, MINER, PUBLIC_URL, SECRET_KEY, Api
from tests.databases import PostgresCluster
from tests.emulator.process import call
from tests.integration.logins import ALICE, ME, logged_in, new_key
from tests.sam.engine import Engine
from tests.sam.relay import relay
from tests.sam.sam_local import SamLocal, free_port

pytestmark = pytest.mark.timeout(900)


def over_http(port: int) -> Api:
    """What tests call the functions by, but over HTTP."""

    def send(event: dict[str, Any], _context: None) -> dict[str, Any]:
        query = f"?{event['rawQueryString']}" if event["rawQueryString"] else ""
        body = None if event["body"] is None else event["body"].encode()
        answer = call(port, event["requestContext"]["http"]["method"], event["rawPath"] + query, body, event["headers"])
        return {"statusCode": answer.status, "headers": answer.headers, "body": answer.body.decode()}

    return Api(handlers=defaultdict(lambda: send))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, engine: Engine, volume: Path) -> Iterator[str]:
    """An empty database that containers reach: a file on their volume, or a server of this machine."""
    if request.param == "sqlite":
        if not engine.shared:
            pytest.skip("SQLite under SAM local (this engine's containers share no folder)")
        yield f"sqlite:///{volume}/coordinator.db"
        return
    if engine.gateway is None:
        pytest.skip("PostgreSQL under SAM local (a rootless engine's containers don't reach this machine)")
    cluster: PostgresCluster = request.getfixturevalue("postgres")
    url = make_url(cluster.new_database(template="template0"))
    with relay(engine.gateway, Path(str(url.query["host"])) / ".s.PGSQL.5432") as port:
        yield url.set(host=engine.host, port=port, query={}).render_as_string(hide_password=False)


@pytest.fixture(scope="module")
def api(
    engine: Engine, build_folder: Path, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("sam-local")
    variables = {
        "DATABASE_URL": database_url,
        "SECRET_KEY": SECRET_KEY,
        "CLIENT_API_KEYS": CLIENT,
        "MINER_API_KEYS": MINER,
        "ADMIN_API_KEYS": ADMIN,
        "PUBLIC_URL": PUBLIC_URL,
    }
    served = SamLocal(engine, build_folder / "template.yaml", {"Parameters": variables}, folder)
    served.migrate()
    port = free_port()
    with served.serving("127.0.0.1", port, folder / "log"):
        yield over_http(port)


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


# A payment follows here: the user pays, and what is confirmed on the chain is in the balance.


def test_operators_see_the_numbers(api: Api) -> None:
    api.as_(CLIENT).submit()

    answer = api.as_(ADMIN).get("/api/v1/admin/stats")

    assert (answer.status, answer.json["jobs"]["pending"] > 0) == (200, True)


def test_health_pages_and_unknown_paths_are_answered(api: Api) -> None:
    paths = ("/health", "/api/health/ready", "/docs", "/api/openapi.json", "/nothing")

    answers = [api.get(path) for path in paths]

    assert [answer.status for answer in answers] == [200, 200, 200, 200, 404]
    assert json.loads(answers[-1].text)["error"]["code"] == "NOT_FOUND"
