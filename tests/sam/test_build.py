"""What is deployed works by itself: the built functions run from the built folders alone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.sam.build import NoRuntimePython, runtime_python, sam

pytestmark = pytest.mark.timeout(600)
_RUNNER = Path(__file__).with_name("run_built.py")
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html: a function with all its layers, unzipped.
_MAX_UNZIPPED_BYTES = 250 * 1024 * 1024


class Built:
    """The folders that `sam build` made, and a database for the functions in them."""

    def __init__(self, folder: Path, database: Path) -> None:
        self.folder = folder
        self.layer = folder / "SharedLayer"
        self._environment = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": f"sqlite:///{database}",
            "SECRET_KEY": "a-test-secret-0123456789-abcdefghijklmnop",
            "CLIENT_API_KEYS": "client-key",
            "MINER_API_KEYS": "miner-key",
            "PUBLIC_URL": "https://api.test",
        }

    def call(self, function: str, handler: str, *events: dict[str, Any]) -> list[Any]:
        done = subprocess.run(
            [runtime_python(), "-I", "-S", _RUNNER, self.folder / function, self.layer, handler],
            input=json.dumps(events),
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout.splitlines()[-1])
        assert told["outside"] == []
        return list(told["answers"])


def http(method: str, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
    return {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"host": "api.test", "content-type": "application/json", **headers},
        "requestContext": {"requestId": "r", "http": {"method": method, "path": path, "sourceIp": "192.0.2.1"}},
        "body": None if body is None else json.dumps(body),
        "isBase64Encoded": False,
    }


@pytest.fixture(scope="module")
def built(build_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    built = Built(build_folder, tmp_path_factory.mktemp("built") / "coordinator.db")
    [answer] = built.call("MigrateFunction", "migrate.app.handler", {"RequestType": "Create"})
    assert answer["Status"] == "SUCCESS"
    return built


def test_the_template_is_valid() -> None:
    try:
        done = sam("validate", "--lint", check=False)
    except NoRuntimePython as error:
        pytest.skip(f"SAM validate ({error})")

    assert done.returncode == 0, done.stdout + done.stderr


def test_cfn_lint_finds_nothing() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), "template.yaml"], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (0, "")


def test_built_functions_do_the_main_job(built: Built) -> None:
    [submitted] = built.call(
        "ClientFunction",
        "client.app.handler",
        http("POST", "/api/v1/client/jobs", {"job_type": "custom"}, **{"x-api-key": "client-key"}),
    )
    job_id = json.loads(submitted["body"])["id"]
    key = {"x-api-key": "miner-key"}
    registered, polled, answered = built.call(
        "MinerFunction",
        "miner.app.handler",
        http("POST", "/v1/miner/register", {"address": "ait1x", "capabilities": ["custom"]}, **key),
        http("GET", "/v1/miner/jobs", **key),
        http("POST", "/v1/miner/result", {"job_id": job_id, "result": 42}, **key),
    )
    [result] = built.call(
        "ClientFunction",
        "client.app.handler",
        http("GET", f"/v1/client/jobs/{job_id}/result", **{"x-api-key": "client-key"}),
    )

    assert [answer["statusCode"] for answer in (submitted, registered, polled, answered)] == [201, 201, 200, 201]
    assert json.loads(polled["body"])["items"][0]["id"] == job_id
    assert json.loads(result["body"])["result"] == 42


def test_the_built_public_function_serves_health_and_pages(built: Built) -> None:
    answers = built.call(
        "PublicFunction",
        "public.app.handler",
        *(http("GET", path) for path in ("/health", "/health/ready", "/openapi.json", "/docs")),
    )

    assert [answer["statusCode"] for answer in answers] == [200, 200, 200, 200]


def test_the_built_users_function_knows_wallets(built: Built) -> None:
    wallets = ["0x2c7536E3605D9C16a7a3D7b1898e529396a65c23", "tb1q0xcqpzrky6eff2g52qdye53xkk9jxkvraulyla"]

    answers = built.call(
        "UsersFunction",
        "users.app.handler",
        *(http("POST", "/v1/users/challenge", {"wallet_address": wallet}) for wallet in wallets),
    )

    assert [answer["statusCode"] for answer in answers] == [201, 201]
    assert all("api.test wants you to sign in" in answer["body"] for answer in answers)


def test_the_built_schedule_runs(built: Built) -> None:
    [answer] = built.call("HeartbeatsFunction", "miner.heartbeats.handler", {})

    assert set(answer) == {"expired_jobs", "expired_leases", "silent_miners", "forgotten_answers"}


@pytest.mark.parametrize(
    ("function", "package"),
    [("UsersFunction", "bip322"), ("ExchangeFunction", "embit"), ("MigrateFunction", "alembic")],
)
def test_what_only_one_function_carries_has_byte_code_too(built: Built, function: str, package: str) -> None:
    assert list((built.folder / function / package).glob("**/*.cpython-313.pyc"))


def test_the_layer_has_byte_code_and_nothing_that_lambda_or_the_migration_brings(built: Built) -> None:
    site = built.layer / "python"

    assert list((site / "coordinator").glob("**/*.cpython-313.pyc"))
    assert list((site / "fastapi").glob("**/*.cpython-313.pyc"))
    for absent in ("boto3", "botocore", "alembic"):
        assert not (site / absent).exists()


def test_every_function_fits_into_lambda(built: Built) -> None:
    functions = [
        name
        for name, resource in yaml.safe_load((built.folder / "template.yaml").read_text())["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    ]

    assert len(functions) == 12
    for name in functions:
        assert _size(built.folder / name) + _size(built.layer) < _MAX_UNZIPPED_BYTES


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
