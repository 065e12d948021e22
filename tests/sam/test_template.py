"""The template with what SAM has made of it: who may do what, what is watched, what is tried again."""

import copy
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from samtranslator.public.translator import ManagedPolicyLoader
from samtranslator.translator.transform import transform

from local.template import _Loader as Loader
from tests.api import SECRET_KEY as A_SECRET_KEY

TEMPLATE = Path(__file__).parents[2] / "template.yaml"
# What each function needs; all may decrypt the secrets that they may read.
DATABASE, SECRET_KEY, API_KEYS, METRICS_TOKEN, SIGNING = (
    "DatabaseReading",
    "SecretKeyReading",
    "ApiKeysReading",
    "MetricsTokenReading",
    "ReceiptSigning",
)
NEEDED = {
    "ClientFunction": {DATABASE, SECRET_KEY, API_KEYS},
    "MinerFunction": {DATABASE, SECRET_KEY, API_KEYS, SIGNING},
    "UsersFunction": {DATABASE, SECRET_KEY, API_KEYS},
    "ExchangeFunction": {DATABASE, SECRET_KEY},
    "PaymentsFunction": {DATABASE},
    "AdminFunction": {DATABASE, SECRET_KEY, API_KEYS},
    "ReceiptsFunction": {DATABASE, SECRET_KEY, SIGNING},
    "ReceiptLogFunction": {DATABASE, SECRET_KEY, SIGNING},
    "LedgerCheckFunction": {DATABASE},
    "HeartbeatsFunction": {DATABASE},
    "PublicFunction": {DATABASE, SECRET_KEY, METRICS_TOKEN, SIGNING},
    "MigrateFunction": {DATABASE},
}


# What Lambda does before it makes a snapshot; all environments that start from that would share what is made here.
INITIALIZATION = """
import importlib, secrets, sqlite3, sys
import psycopg, uuid_utils

def refuse(*_, **__):
    raise AssertionError("made before the first event")

uuid_utils.uuid7 = secrets.token_bytes = secrets.token_hex = secrets.token_urlsafe = refuse
sqlite3.connect = sqlite3.dbapi2.connect = psycopg.connect = psycopg.Connection.connect = refuse
module, name = sys.argv[1].rsplit(".", 1)
assert callable(getattr(importlib.import_module(module), name))
"""


class NoPolicies(ManagedPolicyLoader):
    """Names of AWS's policies, which SAM would ask IAM for; the template names none of them."""

    def __init__(self) -> None:
        super().__init__(None)

    def load(self) -> dict[str, str]:
        return {}


@cache
def document() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.load(TEMPLATE.read_text(), Loader)
    return parsed


def deployed(changed: dict[str, Any] | None = None, **parameters: str) -> dict[str, Any]:
    """The resources that CloudFormation would make."""
    template = copy.deepcopy(changed or document())
    for resource in template["Resources"].values():
        for name in ("CodeUri", "ContentUri"):
            if name in resource.get("Properties", {}):
                resource["Properties"][name] = "s3://bucket/key"
    template["Globals"]["Function"]["CodeUri"] = "s3://bucket/key"
    made: dict[str, Any] = transform(template, parameters, NoPolicies())["Resources"]
    return made


@pytest.fixture(autouse=True)
def region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


def of_type(resources: dict[str, Any], kind: str) -> dict[str, Any]:
    return {name: resource["Properties"] for name, resource in resources.items() if resource["Type"] == kind}


def within(value: Any) -> Iterator[Any]:
    """A value and all that is in it."""
    yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from within(item)


def references(value: Any) -> set[str]:
    return {found["Ref"] for found in within(value) if isinstance(found, dict) and "Ref" in found} | {
        found["Fn::GetAtt"][0] for found in within(value) if isinstance(found, dict) and "Fn::GetAtt" in found
    }


def statements(resources: dict[str, Any]) -> list[dict[str, Any]]:
    """All that policies of ours and of SAM allow, whatever the conditions."""
    return [found for found in within(resources) if isinstance(found, dict) and found.get("Effect") == "Allow"]


def functions() -> dict[str, Any]:
    return of_type(document()["Resources"], "AWS::Serverless::Function")


def scheduled() -> list[str]:
    return [
        name
        for name, function in functions().items()
        for event in function.get("Events", {}).values()
        if event["Type"] == "ScheduleV2"
    ]


def serving_http() -> set[str]:
    return {
        name
        for name, function in functions().items()
        if any(event["Type"] == "HttpApi" for event in function.get("Events", {}).values())
    }


def test_each_function_may_read_only_what_it_uses() -> None:
    resources = deployed()

    for name, needed in NEEDED.items():
        role = resources[f"{name}Role"]["Properties"]
        ours = references(role["ManagedPolicyArns"]) - {"AWS::NoValue", "AWS::Partition"}
        assert ours == {*needed, "SecretDecryption"}, name
        assert role["PermissionsBoundary"] == {"Ref": "Boundary"}, name
    assert set(NEEDED) == set(functions())


def test_nothing_is_allowed_on_everything_but_what_aws_can_not_narrow() -> None:
    wide = [
        statement
        for statement in statements(deployed())
        if any(
            "*" in str(value)
            for key in ("Action", "Resource", "NotAction", "NotResource")
            for value in within(statement.get(key, ""))
            if isinstance(value, str)
        )
    ]

    assert len(wide) == 1
    assert wide[0]["Resource"] == "*"
    assert all(
        re.fullmatch(r"ec2:[A-Za-z]+(NetworkInterfaces?|Subnets|PrivateIpAddresses)", action)
        for action in wide[0]["Action"]
    )


def test_the_boundary_allows_all_that_policies_of_functions_do() -> None:
    resources = deployed()
    boundary = {
        action
        for s in statements(resources["Boundary"])
        for action in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])
    }
    roles = [resources[f"{name}Role"] for name in functions()]
    policies = [policy for name, policy in of_type(resources, "AWS::IAM::ManagedPolicy").items() if name != "Boundary"]
    allowed = {
        action
        for s in statements({"roles": roles, "policies": policies})
        for action in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])
    }

    assert allowed - {"sts:AssumeRole"} <= boundary
    for name in (
        "DatabaseSecretArn",
        "SecretKeyArn",
        "ApiKeysArn",
        "MetricsTokenArn",
        "SecretsKmsKeyArn",
        "ReceiptKmsKeyId",
    ):
        assert name in references(resources["Boundary"])


@pytest.mark.parametrize("name", scheduled())
def test_what_a_schedule_calls_leaves_its_failures_and_is_watched(name: str) -> None:
    resources = deployed()
    function = functions()[name]
    [schedule] = [event["Properties"] for event in function["Events"].values()]
    queue = {"Fn::GetAtt": ["FailedRuns", "Arn"]}
    watched = [
        metric["MetricStat"]["Metric"]["MetricName"]
        for alarm in of_type(resources, "AWS::CloudWatch::Alarm").values()
        for metric in alarm.get("Metrics", [])
        if "MetricStat" in metric
        and metric["MetricStat"]["Metric"]["Dimensions"] == [{"Name": "FunctionName", "Value": {"Ref": name}}]
    ]

    assert schedule["DeadLetterConfig"] == {"Arn": queue}
    assert schedule["RetryPolicy"]["MaximumRetryAttempts"] > 0
    assert function["EventInvokeConfig"]["DestinationConfig"]["OnFailure"] == {"Type": "SQS", "Destination": queue}
    assert sorted(watched) == ["Errors", "Invocations"]


def test_functions_that_serve_http_are_watched_for_throttles() -> None:
    alarm = deployed()["ThrottlesAlarm"]["Properties"]

    assert references(alarm["Metrics"]) == serving_http()


def test_concurrency_is_reserved_for_functions_that_serve_http_and_no_others() -> None:
    reserved = {name: function.get("ReservedConcurrentExecutions") for name, function in functions().items()}
    own = {"ClientFunction": "ClientConcurrency", "MinerFunction": "MinerConcurrency"}

    assert {name: references(value) - {"AWS::NoValue"} for name, value in reserved.items() if value} == {
        name: {own.get(name, "OtherConcurrency")} for name in serving_http()
    }


def test_all_alarms_tell_the_topic_if_there_is_one() -> None:
    for name, alarm in of_type(deployed(), "AWS::CloudWatch::Alarm").items():
        told = {"Fn::If": ["AlarmsAreTold", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]}
        assert alarm["AlarmActions"] == told, name
        assert alarm["TreatMissingData"] == ("breaching" if "Invocations" in str(alarm) else "notBreaching"), name


def test_metrics_are_made_of_lines_that_are_logged() -> None:
    # What logs them is proved by the tests of the ledger's check and of heartbeats.
    source = "\n".join(path.read_text() for path in (TEMPLATE.parent / "functions").glob("*/*.py"))
    filters = of_type(document()["Resources"], "AWS::Logs::MetricFilter")

    [message] = re.findall(r'"(.+)"', filters["LedgerBroken"]["FilterPattern"])
    [field] = re.findall(r"\$\.(\w+) = \*", filters["OldestPending"]["FilterPattern"])

    assert f'logger.error("{message}"' in source
    assert f'"{field}": ' in source
    assert filters["OldestPending"]["MetricTransformations"][0]["MetricValue"] == f"$.{field}"


def test_a_new_layer_makes_new_versions() -> None:
    changed = copy.deepcopy(document())
    changed["Resources"]["SharedLayer"]["Properties"]["Description"] = "Another one."

    before, after = (set(of_type(deployed(template), "AWS::Lambda::Version")) for template in (None, changed))

    assert len(before) == len(after) == len(functions())
    assert not before & after


def test_a_new_release_makes_new_versions_that_differ() -> None:
    # CloudFormation replaces a version of another description, and Lambda publishes one only if the function differs.
    resources = deployed()

    for name, version in of_type(resources, "AWS::Lambda::Version").items():
        assert version["Description"] == {"Ref": "Release"}, name
    for name, function in of_type(resources, "AWS::Lambda::Function").items():
        assert function["Environment"]["Variables"]["RELEASE"] == {"Ref": "Release"}, name


@pytest.mark.parametrize("name", functions())
def test_a_snapshot_has_nothing_that_must_be_unique_and_no_connection(name: str) -> None:
    root = TEMPLATE.parent
    environment = {
        "PYTHONPATH": f"{root / 'layers/shared'}:{root / 'functions'}",
        "DATABASE_URL": "postgresql+psycopg://user:password@127.0.0.1:1/never-opened",
        "SECRET_KEY": A_SECRET_KEY,
        "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start",
    }

    done = subprocess.run(
        [sys.executable, "-c", INITIALIZATION, functions()[name]["Handler"]],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def test_api_gateway_and_schedules_call_the_alias() -> None:
    resources = deployed()

    for name in functions():
        if name != "MigrateFunction":
            assert {"Ref": f"{name}Aliaslive"} in list(within(resources)), name


def test_all_parameters_are_used_and_described() -> None:
    used = references(
        {"resources": document()["Resources"], "globals": document()["Globals"], "conditions": document()["Conditions"]}
    )

    for name, parameter in document()["Parameters"].items():
        assert name in used, name
        assert parameter["Description"].endswith("."), name
        assert "Default" in parameter, name
