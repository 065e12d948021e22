"""One behaviour, two emulators: the same requests through `local/` and SAM CLI.

Where they differ, AWS's documentation decides what ours does, and the difference stands in docs/emulator.md.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.api import ADMIN, OTHER_CLIENT, OTHER_MINER
from tests.emulator.process import ROOT, Emulator
from tests.sam.calls import Got, Sent, send
from tests.sam.conftest import VARIABLES, Serve
from tests.sam.engine import Engine
from tests.sam.sam_local import SamLocal, free_port

pytestmark = pytest.mark.timeout(900)
PROBE = Path(__file__).with_name("probe") / "template.yaml"
DOCUMENTED = (ROOT / "docs" / "emulator.md").read_text()
JSON, TEXT = ("Content-Type", "application/json"), ("Content-Type", "text/plain")
BINARY = ("Content-Type", "application/octet-stream")
AS_TEXT = {"content-type": "text/plain; charset=utf-8"}
LARGE = b"x" * 7_000_000
NO_BASE64 = {"statusCode": 200, "isBase64Encoded": True, "body": "\xe9"}
TWO_LINES = {"statusCode": 200, "headers": {"x-b": "a\nb"}}
# The web server's own, and what differs between two answers of one server.
_NOT_COMPARED = frozenset({"connection", "date", "server", "x-request-id", "ratelimit"})


@dataclass(frozen=True)
class Both:
    """The ports of the two."""

    ours: int
    sams: int

    def __call__(self, sent: Sent) -> tuple[Got, Got]:
        return send(self.ours, sent), send(self.sams, sent)


@pytest.fixture(scope="module")
def probes(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """Functions that do as they are told, served by both."""
    folder = tmp_path_factory.mktemp("probe")
    emulator = Emulator(folder, "--template", str(PROBE), "--no-reload")
    try:
        port = free_port()
        with SamLocal(engine, PROBE, {}, folder).serving("127.0.0.1", port, folder / "sam.log"):
            yield Both(emulator.port, port)
    finally:
        emulator.stop()


@pytest.fixture(scope="module")
def apis(engine: Engine, serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """The whole API, served by both."""
    emulator = Emulator(
        tmp_path_factory.mktemp("api"), "--template", str(ROOT / "template.yaml"), "--no-reload", **VARIABLES
    )
    try:
        yield Both(emulator.port, serve("sqlite" if engine.shared else "postgresql"))
    finally:
        emulator.stop()


def seen(got: Got) -> dict[str, Any]:
    """What a function saw of a request, as far as AWS tells what that is and both agree."""
    event = json.loads(got.body)
    context = event["requestContext"]
    apart = {"cookie", "host", "x-forwarded-for", "x-forwarded-port"}
    return {
        "version": event["version"],
        "path": event["rawPath"],
        "query": event["rawQueryString"],
        "parameters": event.get("queryStringParameters"),
        "path parameters": event.get("pathParameters") or {},
        "cookies": event.get("cookies") or [],
        "headers": {name.lower(): value for name, value in event["headers"].items() if name.lower() not in apart},
        "body": event.get("body") or "",
        "base64": event["isBase64Encoded"],
        "route": event["routeKey"].partition(" ")[2],
        "http": {name: context["http"][name] for name in ("method", "path", "protocol", "sourceIp")},
        "stage": context["stage"],
    }


def answered(got: Got) -> dict[str, Any]:
    return {
        "status": got.status,
        "headers": {name: value for name, value in got.headers.items() if name not in _NOT_COMPARED},
        "body": got.body,
    }


@pytest.mark.parametrize(
    "sent",
    [
        Sent("GET", "/echo/a"),
        Sent("GET", "/echo/exact"),
        Sent("POST", "/echo/exact", b""),
        Sent("GET", "/echo/a/"),
        Sent("GET", "/echo//a"),
        Sent("GET", "/echo/../echo/a"),
        Sent("GET", "/items/1/parts/a%20b"),
        Sent("GET", "/echo/a%20b%2Fc%25%C3%A9%3Fd%23"),
        Sent("GET", "/echo/%FF%zz"),
        Sent("GET", "/echo/a?x=1&x=2&y=&z=%20%26+1&e"),
        Sent("GET", "/echo/a", None, (("Cookie", "a=1; b=2"),)),
        Sent("GET", "/echo/a", None, (("X-Twice", "1"), ("X-Twice", "2"), ("X-Umlaut", "\xe9"))),
        Sent("POST", "/echo/a", b"", (JSON,)),
        Sent("POST", "/echo/a", b'{"a": 1}', (JSON,)),
        Sent("PUT", "/echo/a", "\xe9\u20ac".encode(), (("Content-Type", "text/plain; charset=utf-8"),)),
        Sent("PATCH", "/echo/a", b"a=1&b=2", (("Content-Type", "application/x-www-form-urlencoded"),)),
        Sent("POST", "/echo/a", b"of no type"),
        Sent("DELETE", "/echo/a"),
        Sent("OPTIONS", "/echo/a", None, (("Origin", "https://a.example"), ("Access-Control-Request-Method", "POST"))),
        Sent("POST", "/echo/a", b"x" * 5_000_000, (("Content-Type", "text/plain"),)),
    ],
    ids=lambda sent: f"{sent.method} {sent.path} {len(sent.body or b'')} {dict(sent.headers)}",
)
def test_a_function_sees_the_same_request(probes: Both, sent: Sent) -> None:
    ours, sams = probes(sent)

    assert (ours.status, sams.status) == (200, 200)
    assert seen(ours) == seen(sams)


def answer(value: Any) -> Sent:
    """A request for this answer of the function."""
    return Sent("POST", "/echo/a?answer=1", json.dumps(value).encode(), (JSON,))


@pytest.mark.parametrize(
    "sent",
    [
        answer({"statusCode": 200, "headers": AS_TEXT, "body": "\xe9\u20ac"}),
        answer({"statusCode": "201", "headers": AS_TEXT, "body": "ok"}),
        answer({"statusCode": 404, "headers": AS_TEXT, "body": "no"}),
        answer({"statusCode": 500, "headers": AS_TEXT, "body": "no"}),
        answer({"statusCode": 204, "headers": AS_TEXT}),
        answer({"statusCode": 304, "headers": {"etag": '"1"'}}),
        answer({"statusCode": 200, "headers": {"content-type": "image/png"}, "isBase64Encoded": True, "body": "/wAB"}),
        answer({"statusCode": 200, "headers": {**AS_TEXT, "X-Number": 5, "x-truth": True, "x-umlaut": "\xe9"}}),
        answer({"statusCode": 200, "headers": AS_TEXT, "cookies": ["a=1; Path=/", "b=2"], "body": "ok"}),
        answer({"hello": "world"}),
        answer("text"),
        answer('{"a": 1}'),
        answer(5),
        Sent("HEAD", "/echo/a?pid=1"),
        Sent("GET", "/echo/a?size=6000000"),
    ],
    ids=lambda sent: f"{sent.method} {sent.path} {(sent.body or b'').decode()}",
)
def test_what_a_function_answers_arrives_the_same(probes: Both, sent: Sent) -> None:
    ours, sams = (answered(got) for got in probes(sent))

    if sent.method == "HEAD":
        # It is as long as the number of a process.
        ours["headers"].pop("content-length")
        sams["headers"].pop("content-length")
    assert ours == sams


@pytest.mark.parametrize("statement", ["exit=1", "sleep=5"])
def test_whatever_ends_a_function_costs_one_request(probes: Both, statement: str) -> None:
    before = probes(Sent("GET", "/impatient/a?pid=1"))
    during = probes(Sent("GET", f"/impatient/a?{statement}"))
    after = probes(Sent("GET", "/impatient/a?pid=1"))

    assert [got.status for got in before + after] == [200] * 4
    assert all(got.status >= 500 for got in during)
    assert all(one.body != other.body for one, other in zip(before, after, strict=True))


class Difference(NamedTuple):
    """What both make of a request, and how docs/emulator.md calls it."""

    title: str
    sent: Sent
    # The status; then the code of our error, and SAM's body, as far as they matter.
    ours: tuple[int, str | None]
    sams: tuple[int, Any]


FAILED = {"message": "Internal server error"}
NO_ROUTE = {"message": "Missing Authentication Token"}


@pytest.mark.parametrize(
    "difference",
    [
        Difference("no route", Sent("GET", "/nothing"), (404, "NOT_FOUND"), (403, NO_ROUTE)),
        Difference("no route", Sent("GET", "/echo/"), (404, "NOT_FOUND"), (403, NO_ROUTE)),
        Difference("other methods", Sent("TRACE", "/echo/a?pid=1"), (200, None), (403, NO_ROUTE)),
        Difference("a slash at the end", Sent("GET", "/items/1/parts/a/?pid=1"), (404, "NOT_FOUND"), (200, None)),
        Difference("binary bodies", Sent("POST", "/echo/a", b"\xff\0", (BINARY,)), (200, None), (502, FAILED)),
        Difference("binary bodies", Sent("POST", "/echo/a", b"\xff\0", (JSON,)), (200, None), (502, FAILED)),
        Difference("large requests", Sent("POST", "/echo/a", LARGE, (TEXT,)), (413, "PAYLOAD_TOO_LARGE"), (200, None)),
        Difference("large answers", Sent("GET", "/echo/a?size=6300000"), (502, "FUNCTION_ERROR"), (500, FAILED)),
        Difference("an exception", Sent("GET", "/echo/a?raise=1"), (502, "FUNCTION_ERROR"), (200, None)),
        Difference("a crash", Sent("GET", "/impatient/a?exit=1"), (502, "FUNCTION_ERROR"), (500, FAILED)),
        Difference("a timeout", Sent("GET", "/impatient/a?sleep=5"), (504, "FUNCTION_TIMEOUT"), (502, FAILED)),
        Difference("answers like an error", answer({"errorMessage": "", "errorType": ""}), (200, None), (500, FAILED)),
        Difference("malformed answers", answer({"statusCode": 600}), (502, "FUNCTION_ERROR"), (600, None)),
        Difference("malformed answers", answer({"statusCode": "x"}), (502, "FUNCTION_ERROR"), (502, FAILED)),
        Difference("malformed answers", answer(NO_BASE64), (502, "FUNCTION_ERROR"), (200, None)),
        Difference("headers that are none", answer(TWO_LINES), (200, None), (502, FAILED)),
    ],
    ids=lambda difference: f"{difference.title}: {difference.sent.method} {difference.sent.path}",
)
def test_a_difference_of_answers_is_as_documented(probes: Both, difference: Difference) -> None:
    ours, sams = probes(difference.sent)

    assert (ours.status, sams.status) == (difference.ours[0], difference.sams[0])
    if difference.ours[1] is not None:
        assert json.loads(ours.body)["error"]["code"] == difference.ours[1]
    if difference.sams[1] is not None:
        assert json.loads(sams.body) == difference.sams[1]
    assert f"| {difference.title} |" in DOCUMENTED


@pytest.mark.parametrize(("value", "ours", "sams"), [([1, "a"], b'[1, "a"]', b"[1, 'a']"), (None, b"null", b"")])
def test_answers_that_are_no_objects_are_json_only_here(probes: Both, value: Any, ours: bytes, sams: bytes) -> None:
    got = probes(answer(value))

    assert [one.body for one in got] == [ours, sams]
    assert "| answers that are no objects |" in DOCUMENTED


def test_an_answer_without_a_type_gets_one_only_from_sam(probes: Both) -> None:
    ours, sams = probes(answer({"statusCode": 200, "body": "text"}))

    assert (ours.headers.get("content-type"), sams.headers["content-type"]) == (None, ["application/json"])
    assert "| answers without a type |" in DOCUMENTED


ODD = Sent("GET", "/echo/a", None, (("Cookie", "a=1"), ("Cookie", "b=2"), ("User-Agent", "test"), ("X-Lower", "1")))


@pytest.mark.parametrize(
    ("title", "read", "ours", "sams"),
    [
        ("names of headers", lambda event: {"x-lower", "X-Lower"} & set(event["headers"]), {"x-lower"}, {"X-Lower"}),
        ("cookies", lambda event: event["cookies"], ["a=1", "b=2"], ["a=1,b=2"]),
        ("cookies", lambda event: {"cookie", "Cookie"} & set(event["headers"]), set(), {"Cookie"}),
        ("the route's key", lambda event: event["routeKey"], "ANY /echo/{proxy+}", "GET /echo/{proxy+}"),
        ("who calls", lambda event: event["headers"].get("x-forwarded-for"), "127.0.0.1", None),
        ("who calls", lambda event: event["requestContext"]["http"]["userAgent"], "test", "Custom User Agent String"),
        ("what is absent", lambda event: event.get("body"), None, ""),
        ("what is absent", lambda event: "stageVariables" in event, False, True),
    ],
)
def test_a_difference_of_events_is_as_documented(
    probes: Both, title: str, read: Callable[[Any], Any], ours: Any, sams: Any
) -> None:
    events = [json.loads(got.body) for got in probes(ODD)]

    assert [read(event) for event in events] == [ours, sams]
    assert f"| {title} |" in DOCUMENTED


def test_request_ids_are_new_only_here(probes: Both) -> None:
    rounds = [[json.loads(got.body)["requestContext"]["requestId"] for got in probes(ODD)] for _ in range(2)]

    assert [first == second for first, second in zip(*rounds, strict=True)] == [False, True]
    assert "| request ids |" in DOCUMENTED


JOB = b'{"job_type": "custom", "parameters": {"n": 1}}'
CLIENT_KEY, MINER_KEY = ("X-Api-Key", OTHER_CLIENT), ("X-Api-Key", OTHER_MINER)
ONCE = ("Idempotency-Key", "parity")
ORIGIN = ("Origin", "https://app.example")
PREFLIGHT = (ORIGIN, ("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "x-api-key"))
MINER_BODY = b'{"address": "ait1x", "capabilities": ["custom"]}'
SCRIPT = [
    Sent("GET", "/health"),
    Sent("GET", "/api/health"),
    Sent("HEAD", "/health"),
    Sent("GET", "/health/ready"),
    Sent("GET", "/openapi.json"),
    Sent("GET", "/docs"),
    Sent("GET", "/api/redoc"),
    Sent("GET", "/.well-known/jwks.json"),
    Sent("GET", "/nothing"),
    Sent("GET", "/api/nothing"),
    Sent("GET", "/"),
    Sent("GET", "/v1/client"),
    Sent("GET", "/v1/client/"),
    Sent("GET", "/v1/client/nothing"),
    Sent("GET", "/v1/client/jobs"),
    Sent("GET", "/v1/client/jobs", None, (("X-Api-Key", "unknown"),)),
    Sent("GET", "/v1/client/jobs", None, (MINER_KEY,)),
    Sent("OPTIONS", "/v1/client/jobs", None, PREFLIGHT),
    Sent("GET", "/api/v1/client/jobs", None, (CLIENT_KEY, ORIGIN)),
    Sent("DELETE", "/v1/client/jobs", None, (CLIENT_KEY,)),
    Sent("GET", "/v1/client/jobs?limit=0&limit=x", None, (CLIENT_KEY,)),
    Sent("GET", "/v1/client/jobs/no%20id%2F%C3%A9", None, (CLIENT_KEY,)),
    Sent("POST", "/v1/client/jobs", b"{", (CLIENT_KEY, JSON)),
    Sent("POST", "/v1/client/jobs", b"[" * 100 + b"]" * 100, (CLIENT_KEY, JSON)),
    Sent("POST", "/v1/client/jobs", b'{"job_type": "x"}', (CLIENT_KEY, JSON)),
    Sent("POST", "/v1/client/jobs", b'{"parameters": "' + b"x" * 1_100_000 + b'"}', (CLIENT_KEY, JSON)),
    Sent("POST", "/api/v1/client/jobs", JOB, (CLIENT_KEY, JSON, ONCE)),
    Sent("POST", "/api/v1/client/jobs", JOB, (CLIENT_KEY, JSON, ONCE)),
    Sent("POST", "/v1/client/jobs", b'{"job_type": "custom"}', (CLIENT_KEY, JSON, ONCE)),
    Sent("GET", "/v1/miner/jobs", None, (MINER_KEY,)),
    Sent("POST", "/v1/miner/register", MINER_BODY, (MINER_KEY, JSON)),
    Sent("GET", "/v1/miner/jobs", None, (MINER_KEY,)),
    Sent("GET", "/v1/client/jobs?status=running", None, (CLIENT_KEY,)),
    Sent("POST", "/v1/miner/deregister", b"", (MINER_KEY,)),
    Sent("POST", "/v1/users/challenge", b'{"wallet_address": "nobody"}', (JSON,)),
    Sent("POST", "/v1/users/login", b"{}", (JSON,)),
    Sent("GET", "/v1/users/me", None, (("X-Session-Token", "unknown"),)),
    Sent("GET", "/v1/admin/jobs?status=failed&job_type=training", None, (("X-Api-Key", ADMIN),)),
    Sent("GET", "/v1/admin/stats", None, (CLIENT_KEY,)),
]


@pytest.fixture(scope="module")
def played(apis: Both) -> list[tuple[Got, Got]]:
    """The answers to all of it, in its order."""
    return [apis(sent) for sent in SCRIPT]


@pytest.mark.parametrize("line", range(len(SCRIPT)), ids=[f"{sent.method} {sent.path}" for sent in SCRIPT])
def test_the_api_answers_the_same(played: list[tuple[Got, Got]], line: int) -> None:
    ours, sams = (answered(Got(got.status, got.headers, without_chance(got.body))) for got in played[line])

    assert ours["body"] == sams["body"]
    assert {**ours, "headers": without_ids(ours["headers"])} == {**sams, "headers": without_ids(sams["headers"])}


def test_a_callers_request_id_comes_back(apis: Both) -> None:
    ours, sams = apis(Sent("GET", "/v1/client/jobs", None, (CLIENT_KEY, ("X-Request-Id", "mine"))))

    assert (ours.headers["x-request-id"], sams.headers["x-request-id"]) == (["mine"], ["mine"])


_CHANCE = re.compile(
    rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
    rb"|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z"
    rb'|(?<="lease_token":")[^"]+|(?<="poll_after_seconds":)[0-9.]+|(?<="lease_expires_in_seconds":)[0-9.]+'
)


def without_chance(body: bytes) -> bytes:
    """Without ids, times and what is drawn by lot."""
    return _CHANCE.sub(b"...", body)


def without_ids(headers: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {name: [without_chance(value.encode()).decode() for value in values] for name, values in headers.items()}
