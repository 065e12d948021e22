"""Execution environments: one event at a time, timeouts, crashes, scale-out, reload."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.emulator.conftest import Start, write_handler
from tests.emulator.process import TEMPLATE, Answer, Emulator

# Does what the query asks for, and tells which process it was.
OBEDIENT = """\
import os, sys, time
def handler(event, context):
    query = event.get("queryStringParameters", {})
    if "sleep" in query:
        time.sleep(float(query["sleep"]))
    if "exit" in query:
        os._exit(3)
    if "raise" in query:
        raise ValueError("as asked")
    return {"statusCode": 200, "headers": {"x-remaining": context.get_remaining_time_in_millis(),
            "x-name": context.function_name, "x-cwd": os.getcwd()}, "body": str(os.getpid())}
"""


def obedient(start: Start, *arguments: str) -> Emulator:
    emulator = start("--no-reload", *arguments)
    write_handler(emulator.folder, OBEDIENT)
    return emulator


def in_background(emulator: Emulator, path: str, answers: list[Answer]) -> threading.Thread:
    thread = threading.Thread(target=lambda: answers.append(emulator.call("GET", path)))
    thread.start()
    return thread


def test_a_warm_environment_is_used_again(start: Start) -> None:
    emulator = obedient(start)

    first, second = emulator.call("GET", "/one/x"), emulator.call("GET", "/one/x")

    assert first.body == second.body
    assert 0 < int(second.headers["x-remaining"]) <= 20_000
    assert second.headers["x-name"] == "One"
    assert second.headers["x-cwd"].endswith("/functions")


def test_a_blocked_environment_holds_nobody_up(start: Start) -> None:
    emulator = obedient(start)
    answers: list[Answer] = []
    blocked = in_background(emulator, "/one/x?sleep=3", answers)

    began = time.monotonic()
    others = [emulator.call("GET", "/one/x") for _ in range(3)]
    waited = time.monotonic() - began
    blocked.join()

    assert [answer.status for answer in [*answers, *others]] == [200] * 4
    assert waited < 3


def test_one_environment_serves_one_event_at_a_time(start: Start) -> None:
    emulator = obedient(start, "--max-environments", "1")
    answers: list[Answer] = []

    began = time.monotonic()
    for thread in [in_background(emulator, "/one/x?sleep=0.3", answers) for _ in range(4)]:
        thread.join()

    assert time.monotonic() - began >= 1.2
    assert len({answer.body for answer in answers}) == 1


def test_a_crash_costs_one_request(start: Start) -> None:
    emulator = obedient(start)
    before = emulator.call("GET", "/one/x")
    answers: list[Answer] = []
    running = in_background(emulator, "/one/x?sleep=1", answers)

    crashed = emulator.call("GET", "/one/x?exit=1")
    after = emulator.call("GET", "/one/x")
    running.join()

    assert (crashed.status, crashed.error) == (502, "FUNCTION_ERROR")
    assert (before.status, after.status, answers[0].status) == (200, 200, 200)
    assert "the process ended" in emulator.output


def test_an_environment_that_died_idle_is_handed_nothing(start: Start) -> None:
    emulator = obedient(start)
    dead = emulator.call("GET", "/one/x").body

    os.kill(int(dead), signal.SIGKILL)
    time.sleep(0.2)
    after = emulator.call("GET", "/one/x")

    assert (after.status, after.body != dead) == (200, True)


def test_a_death_leaves_nothing_open(start: Start) -> None:
    emulator = obedient(start)
    emulator.call("GET", "/one/x")
    descriptors = Path(f"/proc/{emulator.process.pid}/fd")
    before = len(list(descriptors.iterdir()))

    for _ in range(3):
        [pid] = emulator.children()
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not emulator.children())
        emulator.call("GET", "/one/x")

    # The connection of the first call may have been counted before.
    wait_for(lambda: len(list(descriptors.iterdir())) <= before)


@pytest.mark.parametrize(("most", "statuses"), [(1, [200, 200, 502]), (3, [200, 200, 200])])
def test_a_start_that_is_killed_costs_at_most_one_of_those_who_wait(
    start: Start, most: int, statuses: list[int]
) -> None:
    emulator = start("--no-reload", "--max-environments", str(most))
    write_handler(emulator.folder, "import time\ntime.sleep(2)\n" + OBEDIENT)
    answers: list[Answer] = []
    waiting = [in_background(emulator, "/one/x", answers) for _ in statuses]
    wait_for(lambda: len(emulator.children()) == most)

    os.kill(emulator.children()[0], signal.SIGKILL)
    for thread in waiting:
        thread.join()

    assert sorted(answer.status for answer in answers) == statuses


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_an_exception_is_502_and_its_traceback_is_in_the_log(start: Start) -> None:
    emulator = obedient(start)

    answer = emulator.call("GET", "/one/x?raise=1")

    assert (answer.status, answer.error) == (502, "FUNCTION_ERROR")
    assert b"as asked" not in answer.body
    assert "ValueError: as asked" in emulator.output
    assert emulator.call("GET", "/one/x").status == 200


def test_a_function_past_its_timeout_is_killed(start: Start) -> None:
    emulator = obedient(start)
    emulator.stop()
    (emulator.folder / "template.yaml").write_text(TEMPLATE.replace("Timeout: 20", "Timeout: 1"))
    emulator = start("--no-reload")
    pid = emulator.call("GET", "/one/x").body

    answer = emulator.call("GET", "/one/x?sleep=20")
    after = emulator.call("GET", "/one/x")

    assert (answer.status, answer.error) == (504, "FUNCTION_TIMEOUT")
    assert (after.status, after.body != pid) == (200, True)


def test_a_handler_that_cannot_be_imported_is_one_message_until_it_is_mended(start: Start) -> None:
    emulator = start()
    write_handler(emulator.folder, "import nothing_of_this_name\n")

    broken = emulator.call("GET", "/one/x")
    write_handler(emulator.folder, OBEDIENT)
    mended = emulator.call("GET", "/one/x")

    assert (broken.status, broken.error) == (502, "FUNCTION_ERROR")
    assert emulator.output.count("one.app.handler can't be imported") == 1
    assert "ModuleNotFoundError: No module named 'nothing_of_this_name'" in emulator.output
    assert mended.status == 200


def test_changed_code_is_picked_up_and_requests_at_hand_are_finished(start: Start) -> None:
    emulator = start()
    write_handler(emulator.folder, OBEDIENT)
    pid = emulator.call("GET", "/one/x").body
    answers: list[Answer] = []
    at_hand = in_background(emulator, "/one/x?sleep=2", answers)
    time.sleep(0.2)

    write_handler(emulator.folder, OBEDIENT.replace("os.getpid()", "'new'"))
    until = time.monotonic() + 10
    while emulator.call("GET", "/one/x").body != b"new":
        assert time.monotonic() < until
        time.sleep(0.1)
    at_hand.join()

    assert (answers[0].status, answers[0].body) == (200, pid)
    assert "reloaded after a change of app.py" in emulator.output


def test_a_template_broken_while_running_leaves_what_was_there(start: Start) -> None:
    emulator = start()
    until = time.monotonic() + 10
    while "the template is broken" not in emulator.output:
        assert time.monotonic() < until
        # Again and again, as the emulator may not have begun to watch.
        (emulator.folder / "template.yaml").write_text("Resources: [")
        time.sleep(0.5)

    assert emulator.call("GET", "/one/x").status == 200


def test_a_function_sees_only_what_lambda_would_show(start: Start) -> None:
    emulator = start("--no-reload", MY_SHELL_SECRET="x", GREETING="from the shell")
    write_handler(
        emulator.folder,
        "import os\ndef handler(e, c):\n    return {'statusCode': 200, 'body': repr(dict(os.environ))}\n",
    )

    shown = emulator.call("GET", "/one/x").body.decode()

    assert "MY_SHELL_SECRET" not in shown
    assert "'GREETING': 'from the shell'" in shown
    for name in ("AWS_LAMBDA_FUNCTION_NAME", "AWS_REGION", "LAMBDA_TASK_ROOT", "_HANDLER"):
        assert name in shown
