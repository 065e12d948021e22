"""The reference miner against a coordinator that misbehaves."""

import base64
import hashlib
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.miner.conftest import Start
from tests.miner.servers import Coordinator, refusal

CUSTOM = ("--capability", "custom")
DOUBLE = "python3 -c \"import json,sys; print(json.dumps({'got': json.load(sys.stdin)['parameters']}))\""
SLEEP = "sleep 60"
ROOT = Path(__file__).parents[2]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_it_registers_with_what_it_was_told(start: Start, coordinator: Coordinator) -> None:
    start(
        *("--capability", "custom", "--capability", "training=a,b", "--command", DOUBLE, "--address", "ait1me"),
        *("--gpu", "RTX 4090=24564", "--cuda", "12.4", "--region", "eu", "--price", "0.5", "--concurrency", "3"),
        *("--name", "mine", "--endpoint", "http://me"),
    )

    [body] = coordinator.wait_for(lambda: coordinator.bodies("register"))

    assert len(decode(body.pop("public_key"))) == 32
    assert body == {
        "address": "ait1me",
        "endpoint": "http://me",
        "capabilities": [{"job_type": "custom", "models": []}, {"job_type": "training", "models": ["a", "b"]}],
        "hardware": {"gpus": [{"name": "RTX 4090", "memory_mb": 24564}], "cuda": "12.4"},
        "region": "eu",
        "price": "0.5",
        "concurrency": 3,
        "name": "mine",
    }
    assert coordinator.headers[0]["x-api-key"] == "the-secret-key"


def test_it_runs_a_job_and_posts_a_signed_result(start: Start, coordinator: Coordinator, identity: Path) -> None:
    coordinator.add_job(parameters={"n": 1})
    start(*CUSTOM, "--command", DOUBLE)

    [body] = coordinator.wait_for(lambda: coordinator.bodies("result"))

    assert (body["job_id"], body["lease_token"], body["status"]) == ("job-1", "token-1", "completed")
    assert body["result"] == {"got": {"n": 1}}
    digest = hashlib.sha256(rfc8785.dumps(body["result"])).hexdigest()
    public_key = Ed25519PublicKey.from_public_bytes(decode(coordinator.bodies("register")[0]["public_key"]))
    public_key.verify(decode(body["signature"]), f"job-1.token-1.{digest}".encode())
    assert coordinator.headers[-1]["x-miner-id"] == "miner-1"
    assert stat.S_IMODE(identity.stat().st_mode) == 0o600


def test_its_identity_survives_a_restart(start: Start, coordinator: Coordinator) -> None:
    for _ in range(2):
        miner = start(*CUSTOM, "--command", DOUBLE)
        coordinator.wait_for(lambda: coordinator.bodies("jobs"))
        miner.send(signal.SIGTERM)
        assert miner.wait() == 0
        coordinator.calls = [call for call in coordinator.calls if call[0] == "register"]

    first, second = coordinator.bodies("register")
    assert first == second


@pytest.mark.parametrize("bad", [None, (500, {}), (503, {}), (429, {}), (200, None)])
def test_a_result_is_repeated_until_it_is_taken(
    start: Start, coordinator: Coordinator, bad: tuple[int, object] | None
) -> None:
    # A lost answer and a server error look alike: the result may have been taken or not.
    coordinator.scripted["result"] = [None if bad is None else (500, {}), bad if bad != (200, None) else None]
    coordinator.add_job()
    start(*CUSTOM, "--command", DOUBLE)

    bodies = coordinator.wait_for(lambda: len(coordinator.bodies("result")) >= 3 and coordinator.bodies("result"))

    assert bodies[0] == bodies[1] == bodies[2]
    time.sleep(0.3)
    assert len(coordinator.bodies("result")) == 3


@pytest.mark.parametrize("code", ["LEASE_LOST", "JOB_CANCELLED", "RESULT_CONFLICT"])
def test_a_definite_no_drops_the_job_and_work_goes_on(start: Start, coordinator: Coordinator, code: str) -> None:
    coordinator.scripted["result"] = [refusal(409, code)]
    coordinator.add_job(1)
    miner = start(*CUSTOM, "--command", DOUBLE)
    coordinator.wait_for(lambda: coordinator.bodies("result"))

    coordinator.add_job(2)

    coordinator.wait_for(lambda: len(coordinator.bodies("result")) == 2)
    assert code in miner.output


@pytest.mark.parametrize(("status", "code"), [(413, "PAYLOAD_TOO_LARGE"), (422, "VALIDATION_ERROR")])
def test_a_result_that_can_not_be_taken_fails_the_job(
    start: Start, coordinator: Coordinator, status: int, code: str
) -> None:
    # Left unanswered it would be handed out again, and worked out again.
    coordinator.scripted["result"] = [refusal(status, code)]
    coordinator.add_job()
    start(*CUSTOM, "--command", DOUBLE)

    _, body = coordinator.wait_for(lambda: len(coordinator.bodies("result")) == 2 and coordinator.bodies("result"))

    assert body == {
        "job_id": "job-1",
        "lease_token": "token-1",
        "status": "failed",
        "error": {"code": "INVALID_RESULT", "message": f"{code}: as scripted", "retryable": False},
    }


def test_heartbeats_go_on_during_a_long_job_and_name_it(start: Start, coordinator: Coordinator) -> None:
    coordinator.add_job()
    start(*CUSTOM, "--command", "sleep 1.5")

    beats = coordinator.wait_for(lambda: len(coordinator.bodies("heartbeat")) >= 3 and coordinator.bodies("heartbeat"))

    assert ["job-1"] in [beat["inflight"] for beat in beats]


def test_it_polls_no_sooner_than_it_is_told_and_never_beyond_its_concurrency(
    start: Start, coordinator: Coordinator
) -> None:
    coordinator.poll_after_seconds = 30
    start(*CUSTOM, "--command", SLEEP, "--concurrency", "2")
    coordinator.wait_for(lambda: coordinator.bodies("jobs"))

    time.sleep(1)

    assert len(coordinator.bodies("jobs")) == 1


def test_with_all_slots_taken_it_does_not_poll(start: Start, coordinator: Coordinator) -> None:
    coordinator.add_job()
    start(*CUSTOM, "--command", SLEEP)
    coordinator.wait_for(lambda: coordinator.bodies("heartbeat"))

    before = len(coordinator.bodies("jobs"))
    time.sleep(0.5)

    assert len(coordinator.bodies("jobs")) == before == 1


def test_a_job_handed_out_again_is_not_run_twice(start: Start, coordinator: Coordinator) -> None:
    job = coordinator.add_job()
    start(*CUSTOM, "--command", "sleep 1", "--concurrency", "2")
    coordinator.wait_for(lambda: not coordinator.jobs)

    coordinator.jobs.append({**job, "redelivered": True})

    coordinator.wait_for(lambda: coordinator.bodies("result"))
    time.sleep(0.3)
    assert len(coordinator.bodies("result")) == 1


@pytest.mark.parametrize("how", ["heartbeat", "progress", "progress refused"])
def test_a_cancelled_job_is_stopped_with_all_that_it_started(
    start: Start, coordinator: Coordinator, tmp_path: Path, how: str
) -> None:
    pids = tmp_path / "pids"
    script = tmp_path / "job.sh"
    script.write_text(
        f"echo $$ > {pids}\nsleep 300 & echo $! >> {pids}\nwhile true; do echo progress 5 x >&2; sleep 0.1; done\n"
    )
    coordinator.add_job()
    start(*CUSTOM, "--command", f"sh {script}")
    coordinator.wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2)

    if how == "heartbeat":
        coordinator.cancelled.append("job-1")
    elif how == "progress":
        coordinator.scripted["jobs/job-1/progress"] = [(200, {"lease_expires_in_seconds": 0, "cancelled": True})]
    else:
        coordinator.scripted["jobs/job-1/progress"] = [refusal(409, "LEASE_LOST")]

    for pid in pids.read_text().split():
        coordinator.wait_for(lambda pid=pid: not alive(int(pid)))
    assert coordinator.bodies("result") == []


def test_a_job_past_its_time_is_stopped_and_failed_for_another_try(start: Start, coordinator: Coordinator) -> None:
    coordinator.add_job(timeout_seconds=0.5)
    start(*CUSTOM, "--command", SLEEP)

    [body] = coordinator.wait_for(lambda: coordinator.bodies("result"))

    assert (body["status"], body["error"]["code"], body["error"]["retryable"]) == ("failed", "TIMEOUT", True)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("sh -c 'echo it broke >&2; exit 3'", "exit code 3: it broke"),
        ("echo no json", "its output is no JSON"),
        ("echo 12345678901234567890", "exceeds safe integer domain"),
    ],
)
def test_a_command_that_fails_fails_the_job(start: Start, coordinator: Coordinator, command: str, message: str) -> None:
    coordinator.add_job()
    start(*CUSTOM, "--command", command)

    [body] = coordinator.wait_for(lambda: coordinator.bodies("result"))

    assert body["status"] == "failed"
    assert message in body["error"]["message"]


def test_a_command_that_can_not_start_is_for_another_try(
    start: Start, coordinator: Coordinator, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    program.touch(mode=0o700)
    start(*CUSTOM, "--command", str(program))
    coordinator.wait_for(lambda: coordinator.bodies("jobs"))

    program.unlink()
    coordinator.add_job()

    [body] = coordinator.wait_for(lambda: coordinator.bodies("result"))
    assert (body["error"]["code"], body["error"]["retryable"]) == ("COMMAND_FAILED", True)


def test_a_command_reports_progress(start: Start, coordinator: Coordinator) -> None:
    coordinator.add_job()
    start(*CUSTOM, "--command", "sh -c 'echo progress 40 nearly half >&2; sleep 0.3; echo 1'")

    [body] = coordinator.wait_for(lambda: coordinator.bodies("jobs/job-1/progress"))

    assert body == {"lease_token": "token-1", "percent": 40.0, "message": "nearly half"}


def test_a_signal_lets_the_jobs_at_hand_finish(start: Start, coordinator: Coordinator) -> None:
    coordinator.add_job()
    miner = start(*CUSTOM, "--command", "sh -c 'sleep 1; echo 1'")
    coordinator.wait_for(lambda: not coordinator.jobs and coordinator.bodies("jobs"))

    miner.send(signal.SIGTERM)

    assert miner.wait() == 0
    paths = [path for path, _ in coordinator.calls]
    assert paths.index("result") < paths.index("deregister")
    assert "Traceback" not in miner.output


def test_a_second_signal_stops_at_once_and_gives_the_jobs_back(start: Start, coordinator: Coordinator) -> None:
    coordinator.add_job()
    miner = start(*CUSTOM, "--command", SLEEP)
    coordinator.wait_for(lambda: coordinator.bodies("heartbeat"))

    miner.send(signal.SIGINT)
    coordinator.wait_for(lambda: "once more" in miner.output)
    miner.send(signal.SIGINT)

    assert miner.wait(10) == 0
    assert coordinator.bodies("deregister") == [None]
    assert coordinator.bodies("result") == []


def test_kill_9_leaves_no_command_behind(start: Start, coordinator: Coordinator, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    coordinator.add_job()
    miner = start(*CUSTOM, "--command", f"sh -c 'echo $$ > {pid_file}; exec sleep 300'")
    coordinator.wait_for(lambda: pid_file.exists() and pid_file.read_text().strip())

    miner.send(signal.SIGKILL)

    coordinator.wait_for(lambda: not alive(int(pid_file.read_text())))


def test_it_registers_again_when_it_is_forgotten(start: Start, coordinator: Coordinator) -> None:
    coordinator.scripted["jobs"] = [refusal(404, "MINER_NOT_FOUND")]
    start(*CUSTOM, "--command", DOUBLE)

    coordinator.wait_for(lambda: len(coordinator.bodies("register")) == 2)


def test_it_outlives_a_coordinator_that_is_away_and_says_so_once(start: Start, coordinator: Coordinator) -> None:
    coordinator.scripted["register"] = [(500, {}), (502, {})]
    coordinator.scripted["jobs"] = [None, (503, {})]
    # No heartbeat may be answered between the two failures of the poll.
    coordinator.registration["lease_seconds"] = 60
    miner = start(*CUSTOM, "--command", DOUBLE)

    coordinator.wait_for(lambda: len(coordinator.bodies("jobs")) >= 4)

    assert miner.output.count("does not answer") == 2
    assert miner.output.count("answers again") == 2
    assert "the-secret-key" not in miner.output


@pytest.mark.parametrize(("status", "code"), [(401, "UNAUTHORIZED"), (403, "FORBIDDEN")])
def test_a_key_that_is_refused_ends_it_with_one_message(
    start: Start, coordinator: Coordinator, status: int, code: str
) -> None:
    coordinator.scripted["register"] = [refusal(status, code)]

    miner = start(*CUSTOM, "--command", DOUBLE)

    assert miner.wait() == 1
    assert [line for line in miner.lines if code in line] == [
        f"aitbc-miner: registration refused: {code}: as scripted\n"
    ]
    assert "Traceback" not in miner.output


def test_a_refused_registration_names_the_fields(start: Start, coordinator: Coordinator) -> None:
    errors = [{"loc": ["body", "price"], "msg": "must be less", "type": "x"}]
    refused = {"code": "VALIDATION_ERROR", "message": "Not valid.", "details": {"errors": errors}}
    coordinator.scripted["register"] = [(422, {"error": refused})]

    miner = start(*CUSTOM, "--command", "true")

    assert miner.wait() == 1
    assert "VALIDATION_ERROR: Not valid. (body.price: must be less)" in miner.output


def test_it_works_on_when_nobody_reads_what_it_prints(coordinator: Coordinator, identity: Path) -> None:
    coordinator.add_job()
    reading, writing = os.pipe()
    named = ("--url", f"{coordinator.url}/base", "--api-key", "x", "--identity", identity, *CUSTOM, "--command", DOUBLE)
    with subprocess.Popen([sys.executable, "-m", "local.miner", *named], cwd=ROOT, stdout=writing) as miner:
        os.close(reading)
        os.close(writing)
        try:
            coordinator.wait_for(lambda: coordinator.bodies("result"))
        finally:
            miner.send_signal(signal.SIGTERM)

    assert miner.returncode == 0
    assert coordinator.bodies("deregister") == [None]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (CUSTOM, "nothing would run custom jobs: give --command COMMAND"),
        (("--capability", "llm_inference"), "give --backend URL or --command COMMAND"),
        ((*CUSTOM, "--command", "true", "--price", "1"), "must say to which --address it is paid"),
    ],
)
def test_what_can_not_work_is_refused_at_once(
    start: Start, coordinator: Coordinator, arguments: tuple[str, ...], message: str
) -> None:
    miner = start(*arguments)

    assert miner.wait() == 1
    assert message in miner.output
    assert coordinator.calls == []


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--command", "no-such-program x", "there is no command 'no-such-program'"),
        ("--command", "echo 'x", "No closing quotation"),
        ("--gpu", "H100=80GB", "write NAME=MEMORY_MB, such as"),
        ("--url", "127.0.0.1:8000", "must begin with http:// or https://"),
        ("--backend", "127.0.0.1:11434", "must begin with http:// or https://"),
    ],
)
def test_a_slip_in_an_option_is_told_before_anything_starts(
    start: Start, coordinator: Coordinator, option: str, value: str, message: str
) -> None:
    miner = start(*CUSTOM, "--command", "true", option, value)

    assert miner.wait() == 2
    assert f"argument {option}: " in miner.output
    assert message in miner.output
    assert coordinator.calls == []


def test_a_key_file_of_another_kind_is_named(start: Start, coordinator: Coordinator, identity: Path) -> None:
    identity.parent.mkdir()
    identity.write_text("no key")

    miner = start(*CUSTOM, "--command", "true")

    assert miner.wait() == 1
    assert f"{identity} holds no Ed25519 key" in miner.output


def test_two_miners_can_not_share_an_identity(start: Start, coordinator: Coordinator) -> None:
    start(*CUSTOM, "--command", DOUBLE)
    coordinator.wait_for(lambda: coordinator.bodies("register"))

    second = start(*CUSTOM, "--command", DOUBLE)

    assert second.wait() == 1
    assert "another miner runs with" in second.output
