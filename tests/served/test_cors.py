"""Pages of configured origins may call and read everything, errors too; other pages nothing."""

import pytest

from tests.emulator.process import Answer
from tests.served.conftest import Served

JOBS = "/v1/client/jobs"
ALLOWED, OTHER_ALLOWED, STRANGE = "https://app.example", "http://localhost:3000", "https://app.example.evil"


def preflight(served: Served, origin: str, method: str = "POST", headers: str = "x-api-key,content-type") -> Answer:
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    return served.emulator.call("OPTIONS", JOBS, headers={"Origin": origin, **asked})


@pytest.mark.parametrize("origin", [ALLOWED, OTHER_ALLOWED])
def test_a_preflight_tells_allowed_origins_what_they_may_send(served: Served, origin: str) -> None:
    answer = preflight(served, origin)

    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, origin)
    assert "POST" in answer.headers["access-control-allow-methods"]
    sendable = answer.headers["access-control-allow-headers"].lower()
    assert all(name in sendable for name in ("x-api-key", "x-miner-id", "x-request-id", "idempotency-key"))
    assert "origin" in answer.headers["vary"].lower()


@pytest.mark.parametrize(
    ("origin", "method", "headers"),
    [
        (STRANGE, "POST", "x-api-key"),
        ("null", "POST", "x-api-key"),
        (ALLOWED, "PUT", "x-api-key"),
        (ALLOWED, "POST", "x-other"),
    ],
)
def test_a_preflight_for_anything_else_is_refused_in_the_contracts_form(
    served: Served, origin: str, method: str, headers: str
) -> None:
    answer = preflight(served, origin, method, headers)

    assert (answer.status, answer.error) == (400, "CORS_REFUSED")
    assert answer.headers["x-request-id"]
    assert ("access-control-allow-origin" in answer.headers) is (origin == ALLOWED)


@pytest.mark.parametrize(
    ("method", "path", "key", "body", "status"),
    [
        ("GET", JOBS, "client", None, 200),
        ("POST", JOBS, "client", b'{"job_type": "custom"}', 201),
        ("GET", JOBS, None, None, 401),
        ("GET", JOBS, "miner", None, 403),
        ("GET", "/nothing", None, None, 404),
        ("PUT", JOBS, "client", None, 405),
        ("POST", JOBS, "client", b"x" * 2_000_000, 413),
        ("POST", JOBS, "client", b"{", 422),
        ("GET", f"{JOBS}/%00", "client", None, 422),
    ],
)
def test_allowed_origins_may_read_every_answer_and_others_none(
    served: Served, method: str, path: str, key: str | None, body: bytes | None, status: int
) -> None:
    sent = {"Content-Type": "application/json", **({"X-Api-Key": served.keys[key]} if key else {})}

    answer = served.emulator.call(method, path, body, {"Origin": ALLOWED, **sent})
    to_a_stranger = served.emulator.call(method, path, body, {"Origin": STRANGE, **sent})

    assert (answer.status, answer.headers["access-control-allow-origin"]) == (status, ALLOWED)
    assert "X-Request-Id" in answer.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in answer.headers
    assert "access-control-allow-origin" not in to_a_stranger.headers
    assert to_a_stranger.status == status
