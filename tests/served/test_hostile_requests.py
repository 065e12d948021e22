"""Whatever bytes arrive: an answer in the contract's form, never a 500, and the others are served as before."""

import http.client
import io
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.emulator.process import Answer
from tests.served.conftest import Served

JOBS = b"/v1/client/jobs"
JOB = b'{"job_type": "custom"}'
CHUNKED_JOB = b'5\r\n{"job\r\n11\r\n_type": "custom"}\r\n0\r\n\r\n'
# The same requests each time; a longer look is what Schemathesis is for.
bounded = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class _Received:
    """What http.client takes for a socket."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: Any) -> io.BytesIO:
        return io.BytesIO(self._data)


def parsed(data: bytes) -> Answer:
    response = http.client.HTTPResponse(_Received(data))  # type: ignore[arg-type]
    response.begin()
    return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


def checked(answer: Answer) -> Answer:
    assert answer.status < 500, answer
    assert answer.headers["x-request-id"]
    if answer.status >= 400:
        assert answer.headers["content-type"] == "application/json"
        assert set(answer.json) == {"error"}
        assert {name: type(value) for name, value in answer.json["error"].items()} == {
            "code": str,
            "message": str,
            "details": dict,
        }
    return answer


def send(served: Served, data: bytes) -> Answer:
    """Sends bytes as they are; whatever they were, others are served after them."""
    answer = checked(parsed(served.emulator.raw(data)))
    assert served.emulator.call("GET", "/health").status == 200
    return answer


def request(
    served: Served, line: bytes, *fields: bytes, body: bytes = b"", length: bytes | None = None, key: str = "client"
) -> bytes:
    head = [line, b"Host: api.test", b"Connection: close", b"X-Api-Key: " + served.keys[key].encode(), *fields]
    if body or length is not None:
        head.append(b"Content-Length: " + (length or str(len(body)).encode()))
    return b"\r\n".join([*head, b"", body])


def post(served: Served, body: bytes, *fields: bytes, length: bytes | None = None) -> bytes:
    return request(served, b"POST " + JOBS + b" HTTP/1.1", *fields, body=body, length=length)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"job_type": "\xff\xfe"}', "json_invalid"),
        (b'{"job_type": "custom", "parameters": {"a": "\xed\xa0\x80"}}', "json_invalid"),
        (b'\xef\xbb\xbf{"job_type": "custom"}', "json_invalid"),
        ('{"job_type": "custom"}'.encode("utf-16"), "json_invalid"),
        (b'{"job_type": "custom"}{}', "json_invalid"),
        (b"\x1f\x8b\x08\x00", "json_invalid"),
    ],
)
def test_a_body_that_is_no_json_in_utf8_is_refused(served: Served, body: bytes, kind: str) -> None:
    answer = send(served, post(served, body, b"Content-Type: application/json; charset=utf-16"))

    assert (answer.status, answer.json["error"]["details"]["errors"][0]["type"]) == (422, kind)


@pytest.mark.parametrize("size", [1_100_000, 5_000_000, 7_000_000, 10_000_000, 12_000_000])
def test_a_body_that_is_too_large_is_413(served: Served, size: int) -> None:
    answer = send(served, post(served, b'{"job_type": "custom", "parameters": {"a": "' + b"x" * size + b'"}}'))

    assert (answer.status, answer.error) == (413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize(
    ("line", "fields", "body", "status"),
    [
        (b"POST /v1/client/jobs HTTP/1.1", [b"Transfer-Encoding: chunked"], CHUNKED_JOB, 201),
        (b"POST /v1/client/jobs HTTP/1.1", [b"Transfer-Encoding: chunked"], b"zz\r\n{}\r\n0\r\n\r\n", 400),
        (b"POST /v1/client/jobs HTTP/1.1", [b"Transfer-Encoding: chunked", b"Content-Length: 3"], b"0\r\n\r\n", 400),
        (b"POST /v1/client/jobs HTTP/1.1", [b"Content-Length: 22", b"Content-Length: 5"], JOB, 400),
        (b"POST /v1/client/jobs HTTP/1.1", [b"Content-Length: -22"], JOB, 400),
        (b"POST /v1/client/jobs HTTP/1.1", [b"Content-Length: many"], JOB, 400),
        (b"POST /v1/client/jobs HTTP/1.1", [b"Content-Length: 5"], JOB, 422),
        (b"POST /v1/client/jobs HTTP/1.0", [b"Content-Length: 22"], JOB, 201),
        (b"POST /v1/client/jobs HTTP/1.1", [], b"", 422),
        (b"POST http://other.example/v1/client/jobs HTTP/1.1", [b"Content-Length: 22"], JOB, 201),
        (b"GET http://other.example/v1/client/jobs?limit=1 HTTP/1.1", [], b"", 200),
        (b"GET /health HTTP/1.0", [], b"", 200),
        (b"OPTIONS * HTTP/1.1", [], b"", 404),
        (b"CONNECT other.example:443 HTTP/1.1", [], b"", 400),
        (b"G(T /health HTTP/1.1", [], b"", 400),
        (b"GET /health HTTP/1.1", [b"X-A : space before the colon"], b"", 400),
        (b"GET /health HTTP/1.1", [b"X-A: folded\r\n line"], b"", 400),
        (b"GET /health HTTP/1.1", [b"X-A: \x00\x01"], b"", 400),
        (b"GET /health HTTP/1.1", [b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"], b"", 200),
        (b"GET /" + b"a" * 200_000 + b" HTTP/1.1", [], b"", 400),
        (b"GET /health HTTP/1.1", [b"X-%d: y" % number for number in range(5000)], b"", 200),
        (b"GET /health HTTP/1.1", [b"X-A: " + b"a" * 500_000], b"", 200),
        (b"GET /v1/client/jobs HTTP/1.1", [b"X-Miner-Id: " + b"a" * 60_000], b"", 200),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", [], b"", 400),
    ],
)  # fmt: skip
def test_odd_http_is_answered_as_it_should_be(
    served: Served, line: bytes, fields: list[bytes], body: bytes, status: int
) -> None:
    data = request(served, line, *fields) + body

    assert send(served, data).status == status


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (b"/v1/client/jobs/a%2Fb", 404),
        (b"/v1/client/jobs%2f", 404),
        (b"/v1/client/../../health", 404),
        (b"/v1/client/%2e%2e/%2e%2e/health", 404),
        (b"/docs/assets/%2e%2e%2f%2e%2e%2fapp.py", 404),
        (b"/docs/assets/..%5c..%5capp.py", 404),
        (b"/v1/client/jobs/%00", 422),
        (b"/v1/client/jobs?cursor=%00", 422),
        (b"/v1/client/jobs/\x00", 400),
        (b"/v1/client/jobs/%0a", 404),
        (b"/v1/client/jobs/%zz%f", 404),
        (b"/v1/client/jobs/%ff%fe", 404),
        (b"/v1/client/jobs?cursor=%ff&limit=%ff", 422),
        (b"/v1/client/jobs?limit=1&limit=2", 200),
        (b"//v1/client/jobs", 404),
        (b"/v1//client/jobs", 404),
        (b"/api/api/v1/client/jobs", 404),
    ],
)
def test_odd_paths_lead_nowhere_else(served: Served, path: bytes, status: int) -> None:
    assert send(served, request(served, b"GET " + path + b" HTTP/1.1")).status == status


@contextmanager
def stalled(served: Served, data: bytes) -> Iterator[None]:
    """A caller that never sends the rest of its request."""
    with socket.create_connection(("127.0.0.1", served.emulator.port), timeout=30) as connection:
        connection.sendall(data)
        yield


def test_callers_that_stall_or_hang_up_keep_nobody_waiting(served: Served) -> None:
    half_a_body = post(served, JOB, length=b"1000000")
    half_a_head = request(served, b"GET /health HTTP/1.1")[:-4]

    for _ in range(20):
        with stalled(served, half_a_body), stalled(served, half_a_head), stalled(served, b""):
            assert served.emulator.call("GET", "/health").status == 200
    assert send(served, post(served, JOB)).status == 201


TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~", min_size=1)
NAMES = TOKEN | st.sampled_from(
    [
        *("Accept", "Authorization", "Cookie", "Content-Type", "Expect", "Forwarded", "Host", "Idempotency-Key"),
        *("If-None-Match", "Origin", "Range", "X-Api-Key", "X-Forwarded-For", "X-Miner-Id", "X-Request-Id"),
    ]
)
VALUES = st.binary(max_size=200).map(lambda raw: bytes(byte for byte in raw if byte >= 0x20 and byte != 0x7F))


@bounded
@given(
    fields=st.lists(st.tuples(NAMES, VALUES), max_size=20), path=st.sampled_from([b"/health", JOBS, b"/v1/miner/me"])
)
def test_no_header_breaks_anything(served: Served, fields: list[tuple[str, bytes]], path: bytes) -> None:
    # A length or an encoding of a body that never comes is another test.
    framing = (b"content-length", b"transfer-encoding", b"connection", b"upgrade")
    lines = [name.encode() + b": " + value for name, value in fields]
    harmless = [line for line in lines if not line.lower().startswith(framing)]

    answer = send(served, b"\r\n".join([b"GET " + path + b" HTTP/1.1", *harmless, b"Connection: close", b"", b""]))

    assert answer.status in (200, 401) or (answer.status, path) == (404, b"/v1/miner/me")


@bounded
@given(
    prefix=st.sampled_from(["/", "/v1/client/", "/v1/client/jobs/", "/api/v1/miner/", "/docs/assets/"]),
    rest=st.binary(max_size=60),
    raw=st.booleans(),
    query=st.binary(max_size=40),
)
def test_no_path_breaks_anything(served: Served, prefix: str, rest: bytes, raw: bool, query: bytes) -> None:
    tail = bytes(byte for byte in rest if byte > 0x20 and byte != 0x7F) if raw else quote(rest, safe="").encode()
    target = prefix.encode() + tail + b"?cursor=" + quote(query).encode()

    send(served, request(served, b"GET " + target + b" HTTP/1.1"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
FIELDS = st.sampled_from(
    ["job_type", "parameters", "constraints", "priority", "ttl_seconds", "timeout_seconds", "max_attempts", "max_price"]
)
BODIES = (
    st.binary(max_size=200)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(FIELDS, JSON).map(lambda job: json.dumps({"job_type": "custom", **job}).encode())
    | JSON.map(lambda value: json.dumps({"job_type": "custom", "parameters": {"a": value}}).encode())
)


@bounded
@given(body=BODIES)
def test_no_body_breaks_anything(served: Served, body: bytes) -> None:
    answer = send(served, post(served, body))

    if answer.status == 201:
        # What was accepted is what was sent, in numbers too: it is what the miner's result is hashed over.
        assert answer.json["parameters"] == json.loads(body).get("parameters", {})
    else:
        assert (answer.status, answer.error) in {
            (400, "INVALID_JOB_TYPE"),
            (403, "FORBIDDEN"),
            (422, "VALIDATION_ERROR"),
        }


@bounded
@given(members=st.lists(st.tuples(st.text(max_size=3), st.integers(-9, 9)), max_size=4), nested=st.booleans())
def test_a_name_may_stand_only_once_in_an_object(served: Served, members: list[tuple[str, int]], nested: bool) -> None:
    written = "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in members) + "}"
    parameters = f'{{"a": [{{}}, {written}], "b": ":"}}' if nested else written
    names = [name for name, _ in members if "\0" not in name]

    answer = send(served, post(served, f'{{"job_type": "custom", "parameters": {parameters}}}'.encode()))

    assert answer.status == (201 if len(set(names)) == len(members) else 422)
