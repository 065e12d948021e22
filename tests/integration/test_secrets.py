"""Secrets that AWS keeps: read when needed, replaced while processes are warm, and never told."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
import pytest
from moto import mock_aws

from coordinator.core.config import read_settings, settings
from coordinator.core.errors import ConfigurationError
from tests.api import ADMIN, CLIENT, MINER, OTHER_CLIENT, SECRET_KEY, Api, forget_process_state, logged

REGION = "eu-central-1"
SECOND_SECRET = "the-second-secret-9876543210-zyxwvutsrq"
MISSING = f"arn:aws:secretsmanager:{REGION}:123456789012:secret:missing-AbCdEf"
PARAMETER = f"arn:aws:ssm:{REGION}:123456789012:parameter/coordinator/secret_key"

Configure = Callable[..., None]


@pytest.fixture
def database_url(sqlite_template: Path, tmp_path: Path) -> str:
    """To secrets other than its own it makes no difference which database there is."""
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'coordinator.db')}"


@pytest.fixture
def configure(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[Configure]:
    """Deploys with other variables: every process begins anew."""

    def deploy(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        forget_process_state()
        _forget_clients()

    with mock_aws():
        yield deploy
    _forget_clients()


def _forget_clients() -> None:
    from coordinator.core import aws

    aws._provider.cache_clear()


def secret(text: str, name: str = "coordinator") -> str:
    """The ARN of a new secret in the Secrets Manager that moto plays."""
    made = boto3.client("secretsmanager", region_name=REGION).create_secret(Name=name, SecretString=text)
    return str(made["ARN"])


def replace(arn: str, text: str, *stages: str) -> None:
    options: dict[str, Any] = {"VersionStages": list(stages)} if stages else {}
    boto3.client("secretsmanager", region_name=REGION).put_secret_value(SecretId=arn, SecretString=text, **options)


def let_secrets_age() -> None:
    """What five minutes do."""
    for kept in settings().kept:
        kept._good_until = 0.0


def jobs(client: Api) -> list[Any]:
    return [job["id"] for job in client.get("/v1/client/jobs").json["items"]]


def completed(api: Api) -> Any:
    api.as_(CLIENT).submit()
    api.as_(MINER).register()
    return api.as_(MINER).answer(api.as_(MINER).poll()[0])


def signers(api: Api) -> list[str]:
    return [key["kid"] for key in api.get("/.well-known/jwks.json").json["keys"]]


class PlayedAws:
    """An endpoint of AWS that gives the answers it is told to, the last one again and again."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, Any]]] = []
        self.calls = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                status, body = outer.answers[min(outer.calls, len(outer.answers) - 1)]
                outer.calls += 1
                sent = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def refuses(self, code: str) -> None:
        self.answers = [(400, {"__type": code, "message": "secret details"})]


@pytest.fixture
def played_aws(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedAws]:
    aws = PlayedAws()
    for service in ("SECRETS_MANAGER", "SSM"):
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", aws.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    _forget_clients()
    yield aws
    aws.close()
    _forget_clients()


def test_all_secrets_may_be_kept_by_aws(api: Api, configure: Configure) -> None:
    keys = {"CLIENT_API_KEYS": "acme=kept-client", "ADMIN_API_KEYS": "kept-admin"}
    configure(
        SECRET_KEY="",
        SECRET_KEY_ARN=secret(SECRET_KEY, "key"),
        API_KEYS_ARN=secret(json.dumps(keys), "keys"),
        METRICS_TOKEN_ARN=secret("kept-token\n", "token"),
    )

    job = api.as_("kept-client").submit()

    assert jobs(api.as_("kept-client")) == [job["id"]]
    assert api.as_("kept-admin").get("/v1/admin/jobs").status == 200
    assert api.as_("kept-client").get("/v1/admin/jobs").status == 403
    # Those of the variables are good too.
    assert jobs(api.as_(CLIENT)) == []
    assert api.get("/metrics").status == 401
    assert api.get("/metrics", headers={"authorization": "Bearer kept-token"}).status == 200


def test_a_secret_may_be_a_parameter_of_ssm(api: Api, configure: Configure) -> None:
    ssm = boto3.client("ssm", region_name=REGION)
    ssm.put_parameter(Name="/coordinator/secret_key", Value=SECRET_KEY, Type="SecureString")
    job = api.as_(CLIENT).submit()

    configure(SECRET_KEY="", SECRET_KEY_ARN=PARAMETER)

    assert settings().secret_keys == (SECRET_KEY,)
    assert jobs(api.as_(CLIENT)) == [job["id"]]


def test_new_keys_are_good_while_processes_are_warm(api: Api, configure: Configure) -> None:
    arn = secret('{"CLIENT_API_KEYS": "first"}')
    configure(API_KEYS_ARN=arn)
    job = api.as_("first").submit()
    replace(arn, '{"CLIENT_API_KEYS": "acme=first,acme=second"}')

    before = api.as_("second").get("/v1/client/jobs").status
    let_secrets_age()

    assert before == 401
    assert jobs(api.as_("second")) == [job["id"]]


def test_secret_key_is_replaced_while_processes_are_warm(api: Api, configure: Configure) -> None:
    arn = secret(SECRET_KEY)
    configure(SECRET_KEY="", SECRET_KEY_ARN=arn)
    job = api.as_(CLIENT).submit()
    api.as_(MINER).register()
    api.as_(MINER).answer(api.as_(MINER).poll()[0])
    replace(arn, SECOND_SECRET)
    let_secrets_age()

    answer = completed(api)

    assert settings().secret_keys == (SECOND_SECRET, SECRET_KEY)
    assert jobs(api.as_(CLIENT))[-1] == job["id"]
    assert answer.status == 201
    assert len(signers(api)) == 2


def test_a_secret_key_that_will_be_in_use_is_good_before(configure: Configure) -> None:
    arn = secret(SECRET_KEY)
    configure(SECRET_KEY="", SECRET_KEY_ARN=arn)
    replace(arn, SECOND_SECRET, "AWSPENDING")

    assert settings().secret_key == SECRET_KEY
    assert settings().secret_keys == (SECRET_KEY, SECOND_SECRET)


@pytest.mark.parametrize("broken", ["geheim", "not-json-at-all", '{"CLIENT_API_KEYS": "a=same,b=same"}'])
def test_what_is_replaced_by_something_broken_stays(
    api: Api, configure: Configure, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    key, keys = secret(SECRET_KEY, "key"), secret('{"CLIENT_API_KEYS": "kept"}', "keys")
    configure(SECRET_KEY="", SECRET_KEY_ARN=key, API_KEYS_ARN=keys)
    job = api.as_("kept").submit()
    replace(key if broken == "geheim" else keys, broken)

    for _ in range(2):
        let_secrets_age()
        assert jobs(api.as_("kept")) == [job["id"]]

    log = logged(caplog.records)
    assert log.count("a secret can't be read again, so it stays as it was") == 2
    assert broken not in log


def test_what_can_not_be_read_again_stays_and_aws_is_left_alone(
    api: Api, played_aws: PlayedAws, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("API_KEYS_ARN", MISSING)
    forget_process_state()
    played_aws.answers = [(200, {"SecretString": '{"CLIENT_API_KEYS": "kept"}'})]
    job = api.as_("kept").submit()
    played_aws.refuses("AccessDeniedException")
    let_secrets_age()

    listed = [jobs(api.as_("kept")) for _ in range(3)]

    assert listed == [[job["id"]]] * 3
    assert played_aws.calls == 2
    assert logged(caplog.records).count("a secret can't be read again, so it stays as it was") == 1


@pytest.mark.parametrize("arn", [MISSING, PARAMETER])
@pytest.mark.parametrize(
    "code",
    [
        "AccessDeniedException",
        "ResourceNotFoundException",
        "ParameterNotFound",
        "DecryptionFailure",
        "InvalidRequestException",
        "ThrottlingException",
    ],
)
def test_without_its_secret_a_request_fails_and_the_log_says_why(
    api: Api,
    played_aws: PlayedAws,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: str,
    arn: str,
) -> None:
    monkeypatch.setenv("API_KEYS_ARN", arn)
    forget_process_state()
    played_aws.refuses(code)

    failed = api.as_(CLIENT).get("/v1/client/jobs")
    health = api.get("/health")
    played_aws.answers = [(200, {"SecretString": "{}", "Parameter": {"Value": "{}"}})]
    again = api.as_(CLIENT).get("/v1/client/jobs")

    log = logged(caplog.records)
    assert (failed.status, failed.error) == (500, "INTERNAL_ERROR")
    assert "secret details" not in failed.text
    assert "arn" not in failed.text
    assert f"API_KEYS_ARN: {arn} can't be read ({code})" in log
    assert "secret details" not in log
    # Whoever does not need it goes on, and so does this one as soon as it can.
    assert (health.status, again.status) == (200, 200)


@pytest.mark.parametrize("arn", [MISSING, PARAMETER])
def test_what_is_throttled_is_asked_again(
    api: Api, played_aws: PlayedAws, monkeypatch: pytest.MonkeyPatch, arn: str
) -> None:
    monkeypatch.setenv("API_KEYS_ARN", arn)
    forget_process_state()
    played_aws.refuses("ThrottlingException")
    played_aws.answers.append((200, {"SecretString": "{}", "Parameter": {"Value": "{}"}}))

    assert api.as_(CLIENT).get("/v1/client/jobs").status == 200
    assert played_aws.calls == 2


def test_what_does_not_answer_is_no_riddle(
    api: Api, played_aws: PlayedAws, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("API_KEYS_ARN", MISSING)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:9")
    forget_process_state()
    _forget_clients()

    assert api.as_(CLIENT).get("/v1/client/jobs").status == 500
    assert "can't be read (EndpointConnectionError)" in logged(caplog.records)


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        *(("SECRET_KEY_ARN", text) for text in ("", "geheim", "geheim-changeme-0123456789-abcdefghijklmnop")),
        *(("API_KEYS_ARN", text) for text in ("", "geheim", "[]", '{"CLIENTS": "geheim"}', '{"API_KEYS": ["geheim"]}')),
        ("METRICS_TOKEN_ARN", ""),
    ],
)
def test_what_is_malformed_is_named_and_not_shown(configure: Configure, variable: str, text: str) -> None:
    arn = secret(" " + text)
    configure(SECRET_KEY="" if variable == "SECRET_KEY_ARN" else SECRET_KEY, **{variable: arn})

    with pytest.raises(ConfigurationError, match=f"^{variable}: ") as raised:
        _ = settings().secret_key, settings().api_keys, settings().metrics_token

    assert "geheim" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_secret_that_is_binary_is_named(configure: Configure) -> None:
    made = boto3.client("secretsmanager", region_name=REGION).create_secret(Name="b", SecretBinary=b"\x00geheim")
    configure(API_KEYS_ARN=made["ARN"])

    with pytest.raises(ConfigurationError, match=r"API_KEYS_ARN: arn:.* is binary, not text"):
        _ = settings().api_keys


@pytest.mark.parametrize("variable", ["DATABASE_SECRET_ARN", "SECRET_KEY_ARN", "API_KEYS_ARN", "METRICS_TOKEN_ARN"])
@pytest.mark.parametrize("arn", ["secret", "arn:aws:s3:::bucket", "arn:aws:ssm:eu-central-1:123456789012:document/x"])
def test_what_is_no_arn_refuses_to_start(variable: str, arn: str) -> None:
    given = {"DATABASE_URL": "postgresql://x", "SECRET_KEY": SECRET_KEY, variable: arn}
    if variable == "SECRET_KEY_ARN":
        del given["SECRET_KEY"]

    with pytest.raises(ConfigurationError, match=f"{variable} must be the ARN"):
        read_settings(given)


@pytest.mark.parametrize("variable", ["SECRET_KEY", "METRICS_TOKEN"])
def test_a_secret_that_is_given_twice_refuses_to_start(variable: str) -> None:
    given = {"DATABASE_URL": "sqlite:///x", "SECRET_KEY": SECRET_KEY, variable: SECRET_KEY, f"{variable}_ARN": MISSING}

    with pytest.raises(ConfigurationError, match=f"{variable} and {variable}_ARN are both set"):
        read_settings(given)


@pytest.mark.parametrize("handler", ["client.app", "public.app", "receipts.growth", "migrate.app"])
def test_what_is_imported_asks_nobody_for_secrets(handler: str) -> None:
    # A snapshot of the process, which SnapStart takes then, holds none, and start-up does not wait for them.
    arns = dict.fromkeys(("DATABASE_SECRET_ARN", "SECRET_KEY_ARN", "API_KEYS_ARN", "METRICS_TOKEN_ARN"), MISSING)
    program = f"import sys, {handler}; sys.exit('boto3' in sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", program], env={**arns, "PYTHONPATH": "layers/shared:functions"}, check=False
    )

    assert done.returncode == 0


def test_admin_keys_of_the_variable_stay_beside_those_of_the_secret(api: Api, configure: Configure) -> None:
    configure(API_KEYS_ARN=secret(json.dumps({"CLIENT_API_KEYS": OTHER_CLIENT})))

    assert api.as_(ADMIN).get("/v1/admin/jobs").status == 200
    assert len(settings().api_keys.client) == 3
