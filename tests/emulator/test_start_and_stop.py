"""Starting says clearly what is wrong; stopping leaves nothing behind."""

import json
import os
import signal
import socket
import stat
import time
from pathlib import Path

import pytest

from tests.emulator.conftest import Start, write_handler
from tests.emulator.process import TEMPLATE, Emulator

VARIABLES = """\
import os
NAMES = ("GREETING", "DATABASE_URL", "SECRET_KEY", "CLIENT_API_KEYS", "CORS_ALLOW_ORIGINS")
def handler(event, context):
    return {name: os.environ[name] for name in NAMES}
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return b" Z " not in Path(f"/proc/{pid}/stat").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything_cleanly(start: Start, number: signal.Signals) -> None:
    emulator = start("--no-reload")
    emulator.call("GET", "/one/x")
    [environment] = emulator.children()

    began = time.monotonic()
    code = emulator.stop(number)

    assert (code, alive(environment)) == (0, False)
    assert time.monotonic() - began < 5
    assert "Traceback" not in emulator.output


def test_a_signal_ends_also_what_is_busy(start: Start) -> None:
    emulator = start("--no-reload")
    write_handler(emulator.folder, "import time\ndef handler(e, c):\n    time.sleep(60)\n")
    with socket.create_connection(("127.0.0.1", emulator.port)) as connection:
        connection.sendall(b"GET /one/x HTTP/1.1\r\nHost: x\r\n\r\n")
        while not emulator.children():
            time.sleep(0.02)

        began = time.monotonic()
        code = emulator.stop()

    assert code == 0
    assert time.monotonic() - began < 5
    assert "Traceback" not in emulator.output


def test_kill_9_leaves_no_environment_behind_even_a_busy_one(start: Start) -> None:
    emulator = start("--no-reload")
    write_handler(emulator.folder, "import time\ndef handler(e, c):\n    time.sleep(60)\n")
    with socket.create_connection(("127.0.0.1", emulator.port)) as connection:
        connection.sendall(b"GET /one/x HTTP/1.1\r\nHost: x\r\n\r\n")
        while not emulator.children():
            time.sleep(0.02)
        time.sleep(0.5)
        [environment] = emulator.children()

        emulator.stop(signal.SIGKILL)

    until = time.monotonic() + 5
    while alive(environment):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_port_in_use_is_one_clear_message(start: Start, project: Path) -> None:
    first = start("--no-reload")

    second = Emulator(project, "--volume", str(project / "other"), port=first.port)

    assert second.process.wait(10) == 1
    message = second.output.splitlines()[-1]
    assert f"Can't listen on 127.0.0.1:{first.port}: Address already in use. Choose another port" in message
    assert "Traceback" not in second.output
    assert not (project / "other").exists()


def test_another_port_is_advised_only_where_it_would_help(start: Start) -> None:
    emulator = start("--host", "192.0.2.1")

    assert emulator.process.wait(10) == 1
    assert emulator.output == "Can't listen on 192.0.2.1:0: Cannot assign requested address.\n"


def test_a_volume_in_use_is_one_clear_message(start: Start, project: Path) -> None:
    start("--no-reload")

    second = Emulator(project)

    assert second.process.wait(10) == 1
    assert f"the volume {project / 'volume'} is in use" in second.output.splitlines()[-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("Resources:", "Resources: ["), "template.yaml: while parsing"),
        (("Resources:", "Things:"), "has no Resources"),
        (("    Handler: one.app.handler\n", ""), "One: Handler is missing"),
        (("functions/", "nowhere/"), "One: CodeUri nowhere/ is no folder"),
        (("!Ref Greeting", "!Ref Nothing"), "GREETING refers to Nothing, which is no parameter"),
        ((", Default: hello", ""), "refers to the parameter Greeting, which has no Default"),
        (("!Ref Greeting", "!GetAtt One.Arn"), "GREETING: Fn::GetAtt has no value outside of AWS"),
        (("Timeout: 20", "Timeout: long"), "Timeout and MemorySize must be numbers"),
        (
            ('{Type: HttpApi, Properties: {Path: "/one/exact", Method: GET}}', "{Type: SQS}"),
            "One.Events.Exact: events of type SQS",
        ),
        (
            (
                '{Type: HttpApi, Properties: {Path: "/one/exact", Method: GET}}',
                "{Type: ScheduleV2, Properties: {ScheduleExpression: 'cron(0 * * * ? *)'}}",
            ),
            "schedule 'cron(0 * * * ? *)' can't be emulated",
        ),
    ],
)
def test_a_broken_template_is_one_clear_message(project: Path, change: tuple[str, str], message: str) -> None:
    (project / "template.yaml").write_text(TEMPLATE.replace(*change))

    emulator = Emulator(project)

    assert emulator.process.wait(10) == 2
    assert len(emulator.output.splitlines()) == 1
    assert message in emulator.output


def test_keys_and_secret_survive_and_are_only_the_owners(start: Start) -> None:
    emulator = start("--no-reload")
    names = ("keys.json", "secret_key")
    before = [(emulator.volume / name).read_text() for name in names]
    emulator.stop()
    again = start("--no-reload")

    assert [(again.volume / name).read_text() for name in names] == before
    assert set(json.loads(before[0])) == {"client", "miner", "admin"}
    assert [stat.S_IMODE((again.volume / name).stat().st_mode) for name in names] == [0o600, 0o600]
    assert stat.S_IMODE(again.volume.stat().st_mode) == 0o700
    for key in json.loads(before[0]).values():
        assert key in again.output


def test_variables_come_from_the_environment_then_dotenv_then_local_defaults_then_the_template(
    start: Start, project: Path
) -> None:
    write_handler(project, VARIABLES)
    (project / ".env").write_text("GREETING=from dotenv\nCLIENT_API_KEYS=mine,yours\n")
    emulator = start("--no-reload")
    keys = json.loads((emulator.volume / "keys.json").read_text())

    shown = emulator.call("GET", "/one/x").json
    emulator.stop()
    overridden = (
        start("--no-reload", GREETING="from the shell", DATABASE_URL="sqlite:////elsewhere.db")
        .call("GET", "/one/x")
        .json
    )
    (project / ".env").unlink()

    assert shown == {
        "GREETING": "from dotenv",
        "DATABASE_URL": f"sqlite:///{emulator.volume / 'coordinator.db'}",
        "SECRET_KEY": (emulator.volume / "secret_key").read_text().strip(),
        "CLIENT_API_KEYS": f"mine,yours,{keys['client']}",
        "CORS_ALLOW_ORIGINS": "*",
    }
    assert (overridden["GREETING"], overridden["DATABASE_URL"]) == ("from the shell", "sqlite:////elsewhere.db")


CUSTOM = """\
  Setup:
    Type: Custom::Setup
    Properties: {ServiceToken: !GetAtt Other.Arn, Size: 5}
  Other:
    Type: AWS::Serverless::Function
    Properties: {Handler: other.app.handler}
"""
ANSWERING = """\
import json, pathlib, urllib.request
def handler(event, context):
    pathlib.Path("seen.json").write_text(json.dumps(event))
    body = json.dumps(%s).encode()
    urllib.request.urlopen(urllib.request.Request(event["ResponseURL"], data=body, method="PUT"), timeout=5).close()
"""


def test_custom_resources_are_created_before_anything_is_served(start: Start, project: Path) -> None:
    (project / "template.yaml").write_text(TEMPLATE + CUSTOM)
    write_handler(project, ANSWERING % {"Status": "SUCCESS"}, "other")

    emulator = start("--no-reload")

    event = json.loads((project / "functions" / "seen.json").read_text())
    assert (event["RequestType"], event["LogicalResourceId"], event["ResourceType"]) == (
        "Create",
        "Setup",
        "Custom::Setup",
    )
    assert event["ResourceProperties"] == {"Size": 5}
    assert emulator.call("GET", "/one/x").status == 200


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (ANSWERING % {"Status": "FAILED", "Reason": "no disk"}, "Can't start: Setup: no disk"),
        ("def handler(event, context):\n    raise ValueError('as asked')\n", "ValueError: as asked"),
        ("import nothing_of_this_name\n", "other.app.handler can't be imported"),
    ],
)
def test_a_custom_resource_that_fails_stops_the_start(project: Path, code: str, message: str) -> None:
    (project / "template.yaml").write_text(TEMPLATE + CUSTOM)
    write_handler(project, code, "other")

    emulator = Emulator(project)

    assert emulator.process.wait(20) == 1
    assert message in emulator.output
    assert "API  " not in emulator.output


def test_the_schedule_calls_its_function_each_period() -> None:
    import asyncio
    from typing import Any

    from local.environments import FunctionFailed
    from local.scheduler import run_schedule
    from local.template import Schedule

    events: list[tuple[str, Any]] = []

    class Functions:
        async def invoke(self, function: str, event: Any) -> None:
            events.append((function, event))
            raise FunctionFailed("as asked")

    failures: list[str] = []

    async def for_a_while() -> None:
        schedule = run_schedule(Schedule("Often", 0.05, "One"), Functions(), lambda *told: failures.append(told[0]))  # type: ignore[arg-type]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(schedule, 0.4)

    asyncio.run(for_a_while())

    assert len(events) >= 3
    assert events[0][0] == "One"
    assert events[0][1]["source"] == "aws.scheduler"
    # A run that fails is told and does not end the schedule.
    assert failures == ["One (schedule Often)"] * len(events)
