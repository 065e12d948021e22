import hashlib
import json
from typing import Any

import pytest
import rfc8785
from joserfc import jws
from joserfc.errors import BadSignatureError
from joserfc.jwk import KeySet

from tests.api import Api, forget_process_state


def completed(client: Api, miner: Api, **job: Any) -> dict[str, Any]:
    client.submit(**job)
    miner.register()
    return dict(miner.answer(miner.poll()[0]).json["receipt"])


def verified(proof: str, jwks: dict[str, Any]) -> dict[str, Any]:
    """Verifies with a library that is not ours."""
    registry = jws.JWSRegistry(algorithms=["Ed25519"])
    return dict(json.loads(jws.deserialize_compact(proof, KeySet.import_key_set(jwks), registry=registry).payload))


def test_a_proof_verifies_offline_with_the_published_keys(api: Api, client: Api, miner: Api) -> None:
    parameters = {"prompt": "The capital of France is", "temperature": 0.5, "n": 1.0}
    receipt = completed(client, miner, parameters=parameters)

    statement = verified(receipt["proof"], api.get("/.well-known/jwks.json").json)

    assert statement == {
        "iss": "aitbc-coordinator",
        "sub": receipt["id"],
        "iat": statement["iat"],
        "version": 1,
        "job_id": receipt["job_id"],
        "attempt": 1,
        "job_type": "llm_inference",
        "client_id": receipt["client_id"],
        "miner_id": receipt["miner_id"],
        "miner_address": "ait1one",
        "parameters_sha256": hashlib.sha256(rfc8785.dumps(parameters)).hexdigest(),
        "result_sha256": hashlib.sha256(rfc8785.dumps({"text": "Paris"})).hexdigest(),
        "units": receipt["units"],
        "unit_type": "seconds",
        "price": "0",
        "started_at": receipt["started_at"],
        "completed_at": receipt["completed_at"],
        "miner_signature": None,
        "miner_public_key": None,
        "lease_token": None,
        "log_index": None,
    }
    assert (receipt["parameters_sha256"], receipt["result_sha256"]) == (
        statement["parameters_sha256"],
        statement["result_sha256"],
    )


def test_a_changed_proof_does_not_verify(api: Api, client: Api, miner: Api) -> None:
    header, payload, signature = completed(client, miner)["proof"].split(".")
    changed = payload.replace(payload[40], "A" if payload[40] != "A" else "B", 1)

    with pytest.raises(BadSignatureError):
        verified(f"{header}.{changed}.{signature}", api.get("/.well-known/jwks.json").json)


def test_old_receipts_verify_after_the_secret_has_changed(
    api: Api, client: Api, miner: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = completed(client, miner)["proof"]
    monkeypatch.setenv("SECRET_KEY", "another-test-secret-9876543210-zyxwvutsrq")
    forget_process_state()
    new = completed(client, miner)["proof"]

    jwks = api.get("/.well-known/jwks.json").json

    assert len(jwks["keys"]) == 2
    assert verified(old, jwks)["job_id"] != verified(new, jwks)["job_id"]
    assert not [key for key in jwks["keys"] if "d" in key]
