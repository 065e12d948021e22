"""The scripts of docs/verify.md verify receipts with JOSE libraries that are not ours, and refuse what is forged."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.receipts.issued import OTHER_JOB_ID, SIGNERS, issued

ROOT = Path(__file__).parents[2]
PACKAGES = Path(__file__).with_name("jose")
INSTALLED = ROOT / "build/jose"

Script = Callable[[Path], subprocess.CompletedProcess[str]]


def text_of(language: str) -> str:
    [script] = re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs/verify.md").read_text(), re.DOTALL)
    return str(script)


def run(folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def by_joserfc(folder: Path) -> subprocess.CompletedProcess[str]:
    return run(folder, sys.executable, "-c", text_of("python"))


def by_jose(folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "node_modules").symlink_to(INSTALLED / "node_modules")
    (folder / "verify.mjs").write_text(text_of("js"))
    return run(folder, "node", "verify.mjs")


@pytest.fixture(scope="module")
def node_packages(npm: None) -> None:
    INSTALLED.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(PACKAGES / name, INSTALLED / name)
    done = run(INSTALLED, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    assert done.returncode == 0, done.stderr


@pytest.fixture(params=[by_joserfc, by_jose], ids=["joserfc", "jose"])
def script(request: pytest.FixtureRequest) -> Script:
    if request.param is by_jose:
        request.getfixturevalue("node_packages")
    chosen: Script = request.param
    return chosen


@pytest.mark.parametrize("algorithm", SIGNERS)
@pytest.mark.parametrize("changed", [None, "result", "parameters", "job_id", "proof", "alg", "key"])
def test_the_scripts_of_the_page_verify_a_receipt_and_only_that(
    script: Script, tmp_path: Path, algorithm: str, changed: str | None
) -> None:
    one = issued(algorithm)
    files = {
        "job": {"job_type": "llm_inference", "parameters": one.parameters},
        "answer": {"job_id": one.receipt["job_id"], "result": one.receipt["result"], "receipt": one.receipt},
        "jwks": one.jwks,
    }
    if changed == "result":
        files["answer"]["result"] = {"text": "Rome"}
    elif changed == "parameters":
        files["job"]["parameters"] = {"prompt": "The capital of Italy is"}
    elif changed == "job_id":
        files["answer"]["job_id"] = OTHER_JOB_ID
    elif changed == "proof":
        header, payload, signature = one.proof.split(".")
        files["answer"]["receipt"]["proof"] = f"{header}.{payload}.{signature[::-1]}"
    elif changed == "alg":
        # {"alg":"none"}, without a signature.
        files["answer"]["receipt"]["proof"] = f"eyJhbGciOiJub25lIn0.{one.proof.split('.')[1]}."
    elif changed == "key":
        files["jwks"] = {"keys": [other.public_jwk for other in SIGNERS.values() if other is not one.signer]}
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))

    done = script(tmp_path)

    assert (done.returncode == 0, done.stdout) == (changed is None, "verified\n" if changed is None else "")
