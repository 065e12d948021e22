"""What the emulator prints while it serves the real functions."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.emulator.process import ROOT, Emulator, call

CLIENT, MINER = "a-clients-own-key", "a-miners-own-key"
SECRET = "this-is-nobodys-business"
TEMPLATE = ("--template", str(ROOT / "template.yaml"), "--no-reload")


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    emulator = Emulator(tmp_path, *TEMPLATE, CLIENT_API_KEYS=CLIENT, MINER_API_KEYS=MINER, SECRET_KEY=SECRET * 2)
    yield emulator
    emulator.stop()


def test_one_line_a_request_names_who_and_what_and_no_secret(emulator: Emulator) -> None:
    def send(method: str, path: str, body: object = None, key: str = CLIENT) -> dict[str, object]:
        raw = None if body is None else json.dumps(body).encode()
        answer = call(emulator.port, method, path, raw, {"X-Api-Key": key, "X-Session-Token": SECRET})
        return dict(answer.json)

    job = send("POST", "/v1/client/jobs", {"job_type": "custom", "parameters": {"x": SECRET}})
    send("POST", "/v1/client/jobs", {"job_type": SECRET, "priority": SECRET})
    send("POST", "/v1/miner/register", {"address": "here", "capabilities": ["custom"], "name": SECRET}, MINER)
    [lease] = send("GET", f"/v1/miner/jobs?limit=1&x={SECRET}", key=MINER)["items"]  # type: ignore[misc]
    answer = {"job_id": job["id"], "lease_token": lease["lease_token"], "result": SECRET, "signature": SECRET}
    send("POST", "/v1/miner/result", answer, MINER)
    send("GET", f"/api/v1/client/jobs/{job['id']}/result")
    send("GET", "/nothing", key=SECRET)
    emulator.stop()

    output = emulator.output[emulator.output.index("Ctrl-C stops everything") :]
    lines = [line.split(" ", 1)[1] for line in output.splitlines()[1:] if line]
    assert [line.split()[:4] for line in lines] == [
        ["POST", "/v1/client/jobs", "201", "ClientFunction"],
        ["POST", "/v1/client/jobs", "422", "ClientFunction"],
        ["POST", "/v1/miner/register", "201", "MinerFunction"],
        ["GET", "/v1/miner/jobs", "200", "MinerFunction"],
        ["POST", "/v1/miner/result", "201", "MinerFunction"],
        ["GET", f"/api/v1/client/jobs/{job['id']}/result", "200", "ClientFunction"],
        ["GET", "/nothing", "404", "PublicFunction"],
    ]
    who_and_what = f"principal_id={job['client_id']} job_id={job['id']}"
    assert [line.endswith(who_and_what) for line in lines] == [True, False, False, False, False, True, False]
    assert lines[4].endswith(f"job_id={job['id']}")
    assert not [secret for secret in (CLIENT, MINER, SECRET, lease["lease_token"]) if secret in output]


def test_quiet_prints_no_request(tmp_path: Path) -> None:
    emulator = Emulator(tmp_path, *TEMPLATE, "--quiet")
    call(emulator.port, "GET", "/health")
    emulator.stop()

    assert emulator.output.rstrip().endswith("Ctrl-C stops everything.")
