"""A client generated from the document does the main job without a line of its own about HTTP."""

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.emulator.process import ROOT
from tests.served.conftest import Served

PACKAGE = "coordinator_client"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The generated package; whatever the generator can't express fails here."""
    config = tmp_path / "config.json"
    # The code is only run, so nothing needs to format it. The generator knows no pictures.
    overrides = {"image/svg+xml": "application/octet-stream"}
    config.write_text(json.dumps({"post_hooks": [], "content_type_overrides": overrides}))
    document = ROOT / "functions/public/openapi.json"
    options = ("--path", str(document), "--config", str(config), "--output-path", str(tmp_path / PACKAGE))
    subprocess.run(
        [sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning", "--meta", "none", *options],
        check=True,
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield __import__(PACKAGE)
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def test_a_generated_client_takes_a_job_from_submission_to_receipt(package: Any, served: Served) -> None:
    from coordinator_client.api.client import get_job, get_job_result, list_jobs, submit_job
    from coordinator_client.api.miner import poll_jobs, post_result, register, report_progress
    from coordinator_client.api.public import get_receipt_keys
    from coordinator_client.models import (
        ErrorBody,
        JobCreate,
        JobCreateParameters,
        JobStatus,
        MinerRegister,
        ProgressCreate,
        ResultCreate,
    )

    def calling_with(role: str) -> Any:
        return package.AuthenticatedClient(
            served.url,
            token=served.keys[role],
            prefix="",
            auth_header_name="X-Api-Key",
            raise_on_unexpected_status=True,
        )

    with calling_with("client") as client, calling_with("miner") as miner:
        prompt = JobCreateParameters.from_dict({"prompt": "The capital of France is"})

        job = submit_job.sync(client=client, body=JobCreate(job_type="llm_inference", parameters=prompt, priority=9))
        me = register.sync(client=miner, body=MinerRegister(address="ait1one", capabilities=["llm_inference"]))
        (assignment,) = poll_jobs.sync(client=miner, x_miner_id=str(me.id)).items
        going_on = report_progress.sync(
            assignment.id, client=miner, body=ProgressCreate(percent=50, lease_token=assignment.lease_token)
        )
        answer = ResultCreate(job_id=assignment.id, lease_token=assignment.lease_token, result={"text": "Paris"})
        taken = post_result.sync(client=miner, body=answer)
        finished = get_job_result.sync(job.id, client=client, wait=5)
        listed = list_jobs.sync(client=client, status=JobStatus.COMPLETED)
        keys = get_receipt_keys.sync(client=client)
        error = get_job.sync(uuid4(), client=client)

    assert isinstance(job.id, UUID)
    assert isinstance(job.created_at, datetime)
    assert assignment.parameters.to_dict() == prompt.to_dict()
    assert (going_on.cancelled, taken.status) == (False, JobStatus.COMPLETED)
    assert (finished.result, finished.receipt.proof) == ({"text": "Paris"}, taken.receipt.proof)
    assert [one.id for one in listed.items] == [job.id]
    assert len(keys.keys) == 1
    assert isinstance(error, ErrorBody)
    assert error.error.code == "JOB_NOT_FOUND"
