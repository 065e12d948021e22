"""Schemathesis calls every operation with whatever the document allows, and with what it forbids.

FUZZ_EXAMPLES=500 makes it look longer, FUZZ_SEED=... elsewhere.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.emulator.process import ROOT
from tests.served.conftest import Served
from tests.served.wallet import ONE, log_in

EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "50")
SEED = os.environ.get("FUZZ_SEED", "1")
TIMEOUT_SECONDS = 3600
# Beside success: what depends on the coordinator's settings, on other calls, or on the role.
ACCEPTABLE = ["2xx", "400", "402", "403", "404", "409", "425"]


def document_with_a_key_for_each_group() -> dict[str, Any]:
    """Without the catch-all answer, so that a status that is not written down is found."""
    document: dict[str, Any] = json.loads((ROOT / "functions/public/openapi.json").read_text())
    schemes = document["components"]["securitySchemes"]
    of_group = dict.fromkeys(("client", "miner", "admin"), schemes["ApiKey"])
    of_group |= dict.fromkeys(("users", "exchange"), schemes["SessionToken"])
    document["components"]["securitySchemes"] = of_group
    for operations in document["paths"].values():
        for operation in operations.values():
            del operation["responses"]["default"]
            if operation["security"]:
                (group,) = operation["tags"]
                # Beside the session that users send, some take an operator's key.
                also = [{"admin": []}] if group == "users" and {"ApiKey": []} in operation["security"] else []
                operation["security"] = [{group: []}, *also] if group in of_group else []
    return document


def configuration(document: dict[str, Any], keys: dict[str, str]) -> str:
    """In TOML, whose strings and lists look like those of JSON."""
    groups = document["components"]["securitySchemes"]
    return "\n".join(
        [
            "[checks.positive_data_acceptance]",
            f"expected-statuses = {json.dumps(ACCEPTABLE)}",
            *(f"[auth.openapi.{group}]\napi_key = {json.dumps(keys[group])}" for group in groups),
            # Whatever it is sent, it is not signed by a wallet.
            '[[operations]]\ninclude-operation-id = "login"',
            f"checks.positive_data_acceptance.expected-statuses = {json.dumps([*ACCEPTABLE, '401'])}",
        ]
    )


def hold_leases(served: Served, count: int) -> tuple[str, list[dict[str, str]]]:
    """The id of a new miner, and jobs that it holds with their lease tokens."""

    def call(role: str, method: str, path: str, body: Any = None) -> Any:
        key = {"X-Api-Key": served.keys[role], "Content-Type": "application/json"}
        answer = served.emulator.call(method, path, json.dumps(body).encode() if body else None, key)
        assert answer.status in (200, 201), answer.body
        return answer.json

    miner = {"address": "ait1all", "capabilities": ["llm_inference"], "concurrency": count}
    miner_id = call("miner", "POST", "/v1/miner/register", miner)["id"]
    for _ in range(count):
        call("client", "POST", "/v1/client/jobs", {"job_type": "llm_inference"})
    held = call("miner", "GET", f"/v1/miner/jobs?limit={count}")["items"]
    return miner_id, [{"job_id": job["id"], "lease_token": job["lease_token"]} for job in held]


@pytest.mark.timeout(TIMEOUT_SECONDS)
def test_what_the_document_says_is_what_happens(served: Served, tmp_path: Path) -> None:
    document = document_with_a_key_for_each_group()
    session = log_in(served.url, ONE)
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    (tmp_path / "schemathesis.toml").write_text(
        configuration(document, served.keys | {"users": session, "exchange": session})
    )

    miner_id, leases = hold_leases(served, 100)

    done = subprocess.run(
        [
            *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
            *("--config-file", str(tmp_path / "schemathesis.toml"), "run", str(tmp_path / "openapi.json")),
            *("--url", served.url, "--checks", "all", "--max-examples", EXAMPLES, "--seed", SEED, "--no-color"),
            # Strings with NUL are valid for every schema, and refused.
            *("--generation-database", "none", "--generation-allow-x00", "false"),
            *("--continue-on-failure", "--no-shrink"),
        ],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SCHEMATHESIS_HOOKS": "tests.served.schemathesis_hooks",
            "MINER_ID": miner_id,
            "LEASES": json.dumps(leases),
            "SESSION": session,
            "ADMIN_KEY": served.keys["admin"],
            "SERVED_URL": served.url,
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
