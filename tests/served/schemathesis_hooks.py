"""What Schemathesis is told of this API beyond its document; Schemathesis loads it in a process of its own."""

import itertools
import json
import os
import re
from typing import Any
from uuid import UUID, uuid4

import schemathesis

from tests.served.wallet import ONE, OTHER, log_in

MAX_WAIT_SECONDS = 25
MAX_SAFE_INTEGER = 2**53 - 1
# From here on canonical JSON writes no integers.
LEAST_WITH_EXPONENT = 1e21
# A miner that holds jobs, and what names its leases in a body.
MINER_ID = os.environ["MINER_ID"]
# What the document allows.
KEY = re.compile("[ -~]{1,255}")
LEASES = itertools.cycle(json.loads(os.environ["LEASES"]))
SESSION, ADMIN_KEY = os.environ["SESSION"], os.environ["ADMIN_KEY"]
AS_ADMIN = itertools.cycle((True, False))


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
    if _is_allowed_wait(case.query.get("wait")):
        # Nothing would happen meanwhile.
        case.query["wait"] = 0
    operation_id = case.operation.definition.raw["operationId"]
    names = {parameter.name for parameter in case.operation.headers}
    unnamed = "X-Miner-Id" in names and "X-Miner-Id" not in case.headers and operation_id != "deregister"
    if unnamed or operation_id in ("report_progress", "post_result"):
        case.headers["X-Miner-Id"] = MINER_ID
    key = case.headers.get("Idempotency-Key")
    if isinstance(key, str) and KEY.fullmatch(key):
        # One of its own for each request, or all but the first would be repetitions.
        case.headers["Idempotency-Key"] = str(uuid4())
    if operation_id in ("create_challenge", "login") and isinstance(case.body, dict):
        # Any other text is refused.
        case.body |= {
            name: ONE.address for name, value in case.body.items() if (name, type(value)) == ("wallet_address", str)
        }
    if operation_id == "logout" and case.headers.get("X-Session-Token") == SESSION:
        # The one of all other calls must live on, so another user's is ended.
        case.headers["X-Session-Token"] = log_in(os.environ["SERVED_URL"], OTHER)
    by_admin = {"admin": []} in case.operation.definition.raw.get("security", ())
    if by_admin and case.headers.get("X-Session-Token") == SESSION and next(AS_ADMIN):
        del case.headers["X-Session-Token"]
        case.headers["X-Api-Key"] = ADMIN_KEY
    # Only a known job's answer is looked at any further.
    if operation_id == "post_result" and isinstance(case.body, dict) and _is_uuid(case.body.get("job_id")):
        case.body |= next(LEASES)
    if operation_id == "report_progress" and isinstance(case.body, dict) and _is_uuid(case.path_parameters["job_id"]):
        lease = next(LEASES)
        case.path_parameters["job_id"] = lease["job_id"]
        case.body["lease_token"] = lease["lease_token"]


@schemathesis.hook
def filter_body(context: schemathesis.HookContext, body: Any) -> bool:
    """Leaves out numbers that canonical JSON can't carry: they are valid for the schema, and refused."""
    return _has_canonical_numbers(body)


@schemathesis.check
def error_code_conformance(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """The code of an error is one that the document names for this operation and status."""
    declared = case.operation.definition.raw["responses"].get(str(response.status_code))
    if declared is None or response.status_code < 400:
        return
    # Errors with only one code stand in the components under this code.
    codes = [declared["$ref"].rsplit("/", 1)[1]] if "$ref" in declared else _example_codes(declared)
    code = json.loads(response.content)["error"]["code"]
    assert code in codes, f"{code} is not documented"


def _example_codes(answer: dict[str, Any]) -> list[str]:
    return list(answer["content"]["application/json"]["examples"])


def _is_allowed_wait(value: Any) -> bool:
    try:
        return 0 <= float(value) <= MAX_WAIT_SECONDS
    except (TypeError, ValueError):
        return False


def _is_uuid(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(UUID(value))
    except ValueError:
        return False


def _has_canonical_numbers(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_has_canonical_numbers, value.values()))
    if isinstance(value, list):
        return all(map(_has_canonical_numbers, value))
    if not isinstance(value, int | float) or abs(value) <= MAX_SAFE_INTEGER:
        return True
    return isinstance(value, float) and abs(value) >= LEAST_WITH_EXPONENT
