"""HTTP in, API Gateway's events to the functions, HTTP out."""

import base64
import json

import pytest

from tests.emulator.conftest import Start, write_handler
from tests.emulator.process import Emulator


@pytest.fixture
def emulator(start: Start) -> Emulator:
    return start("--no-reload")


def test_an_event_has_payload_format_2(emulator: Emulator) -> None:
    answer = emulator.call(
        "POST",
        "/one/a%20b?x=1&x=2&y=",
        b'{"a": 1}',
        {"Content-Type": "application/json", "Cookie": "c1=1; c2=2", "X-Twice": "1", "User-Agent": "test"},
    )

    event = answer.json
    context = event["requestContext"]
    assert (event["version"], event["routeKey"], context["routeKey"]) == ("2.0", *["ANY /one/{proxy+}"] * 2)
    assert (event["rawPath"], event["pathParameters"]) == ("/one/a b", {"proxy": "a b"})
    assert (event["rawQueryString"], event["queryStringParameters"]) == ("x=1&x=2&y=", {"x": "1,2", "y": ""})
    assert (event["cookies"], event["headers"]["x-twice"]) == (["c1=1", "c2=2"], "1")
    assert "cookie" not in event["headers"]
    assert event["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert (event["body"], event["isBase64Encoded"]) == ('{"a": 1}', False)
    assert context["http"] == {
        "method": "POST",
        "path": "/one/a b",
        "protocol": "HTTP/1.1",
        "sourceIp": "127.0.0.1",
        "userAgent": "test",
    }
    assert (context["stage"], isinstance(context["timeEpoch"], int)) == ("$default", True)
    assert answer.headers["x-request-id"] == context["requestId"]


def test_no_header_changes_where_a_request_came_from(emulator: Emulator) -> None:
    event = emulator.call(
        "GET", "/one/x", headers={"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
    ).json

    assert event["requestContext"]["http"]["sourceIp"] == "127.0.0.1"
    assert event["headers"]["x-forwarded-for"] == "203.0.113.9, 127.0.0.1"
    assert event["headers"]["x-forwarded-proto"] == "http"


def test_a_binary_body_is_base64_both_ways(start: Start, project: object) -> None:
    emulator = start("--no-reload")
    data = bytes(range(256))

    event = emulator.call("POST", "/one/x", data, {"Content-Type": "application/octet-stream"}).json

    assert event["isBase64Encoded"] is True
    assert base64.b64decode(event["body"]) == data


@pytest.mark.parametrize(
    ("returned", "status", "body"),
    [
        ('{"statusCode": 200, "body": "aGk=", "isBase64Encoded": True}', 200, b"hi"),
        ('{"statusCode": 204}', 204, b""),
        ('{"statusCode": 200, "headers": {"x-bad": "a\\r\\nb: c", "x-n": 5}, "body": "ok"}', 200, b"ok"),
        ('{"hello": "world"}', 200, b'{"hello": "world"}'),
        ('"text"', 200, b"text"),
    ],
)
def test_what_a_function_returns_becomes_the_answer(
    start: Start, project: object, returned: str, status: int, body: bytes
) -> None:
    emulator = start("--no-reload")
    write_handler(emulator.folder, f"def handler(event, context):\n    return {returned}\n")

    answer = emulator.call("GET", "/one/x")

    assert (answer.status, answer.body) == (status, body)
    assert not {"x-bad", "b"} & set(answer.headers)


@pytest.mark.parametrize(
    "returned", ['{"statusCode": "x"}', '{"statusCode": 99}', '{"statusCode": 200, "headers": 5}', "{1}"]
)
def test_a_malformed_answer_is_502(start: Start, returned: str) -> None:
    emulator = start("--no-reload")
    write_handler(emulator.folder, f"def handler(event, context):\n    return {returned}\n")

    answer = emulator.call("GET", "/one/x")

    assert (answer.status, answer.error) == (502, "FUNCTION_ERROR")


def test_cookies_become_header_fields_each(start: Start) -> None:
    emulator = start("--no-reload")
    write_handler(emulator.folder, 'def handler(e, c):\n    return {"statusCode": 200, "cookies": ["a=1", "b=2"]}\n')

    received = emulator.raw(b"GET /one/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert received.lower().count(b"set-cookie:") == 2


def test_an_exact_route_goes_before_a_greedy_one(emulator: Emulator) -> None:
    assert emulator.call("GET", "/one/exact").json["routeKey"] == "GET /one/exact"
    assert emulator.call("POST", "/one/exact").json["routeKey"] == "ANY /one/{proxy+}"
    assert emulator.call("GET", "/one/%0A").json["routeKey"] == "ANY /one/{proxy+}"
    assert emulator.call("GET", "/two/7/x").json["pathParameters"] == {"id": "7"}


@pytest.mark.parametrize("path", ["/", "/one", "/one/", "/two/7/8/x", "/three"])
def test_a_path_without_a_route_is_404_in_the_contracts_form(emulator: Emulator, path: str) -> None:
    answer = emulator.call("GET", path, headers={"X-Request-Id": "mine"})

    assert (answer.status, answer.error) == (404, "NOT_FOUND")
    assert answer.headers["x-request-id"] == "mine"


def test_head_has_the_length_of_get_and_no_body(start: Start) -> None:
    emulator = start("--no-reload")
    write_handler(
        emulator.folder,
        'def handler(e, c):\n    return {"statusCode": 200, "headers": {"content-length": "7"}, "body": ""}\n',
    )

    answer = emulator.call("HEAD", "/one/x")

    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "7", b"")


def test_a_body_that_lambda_or_the_gateway_would_not_take_is_413(emulator: Emulator) -> None:
    for size in (7 * 1024 * 1024, 11 * 1024 * 1024):
        answer = emulator.call("POST", "/one/x", b"x" * size, {"Content-Type": "text/plain"})
        assert (answer.status, answer.error) == (413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize(("letter", "most"), [("x", 6_291_000), ("\u00e9", 3_145_000)])
def test_an_answer_that_lambda_would_not_take_is_502(start: Start, letter: str, most: int) -> None:
    emulator = start("--no-reload")
    answer = f"{{'statusCode': 200, 'body': {letter!r} * int(e['queryStringParameters']['size'])}}"
    write_handler(emulator.folder, f"def handler(e, c):\n    return {answer}\n")

    taken, refused = (emulator.call("GET", f"/one/x?size={size}") for size in (most, most + 1000))

    assert (taken.status, len(taken.body.decode())) == (200, most)
    assert (refused.status, refused.error) == (502, "FUNCTION_ERROR")
    assert "exceeded maximum allowed payload size" in emulator.output


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_has_no_content_tells_no_length(start: Start, status: int) -> None:
    emulator = start("--no-reload")
    write_handler(emulator.folder, f"def handler(e, c):\n    return {{'statusCode': {status}, 'body': 'ignored'}}\n")

    answer = emulator.call("GET", "/one/x")

    assert (answer.status, answer.body, "content-length" in answer.headers) == (status, b"", False)


@pytest.mark.parametrize(
    "request_line_and_headers",
    [
        b"GET /one/%ff%fe?%ff=%fe HTTP/1.1\r\nHost: x",
        b"GET /one/a%2Fb%00 HTTP/1.1\r\nHost: x",
        b"GET /one/x HTTP/1.1\r\nHost: x\r\nX-Bytes: \xff\xfe\xfd",
        b"GET /one/x HTTP/1.1\r\nHost: [::1]:80\r\nX-Api-Key: \xd0\xba",
        b"GET /one/x HTTP/1.0",
        b"GET /one/x HTTP/1.1\r\nHost: x\r\n" + b"\r\n".join(b"X-%d: y" % n for n in range(1000)),
        b"BREW /one/x HTTP/1.1\r\nHost: x",
        b"GET http://other/one/x HTTP/1.1\r\nHost: x",
        b"nonsense",
    ],
)
def test_no_request_breaks_the_server(emulator: Emulator, request_line_and_headers: bytes) -> None:
    received = emulator.raw(request_line_and_headers + b"\r\nConnection: close\r\n\r\n")

    assert received.split(b" ")[1] in (b"200", b"400", b"404"), received[:200]
    assert emulator.call("GET", "/one/after").status == 200


def test_each_request_has_one_line_in_the_log(emulator: Emulator) -> None:
    emulator.call("GET", "/one/x", headers={"X-Request-Id": "first"})
    emulator.call("GET", "/one/x", headers={"X-Request-Id": "second"})

    emulator.stop()
    lines = [line for line in emulator.output.splitlines() if "GET /one/x" in line]

    assert [line.split()[1:5] + line.split()[-2:] for line in lines] == [
        ["GET", "/one/x", "200", "One", "cold", "first"],
        ["GET", "/one/x", "200", "One", "warm", "second"],
    ]


def test_powertools_lines_become_readable(start: Start) -> None:
    emulator = start("--no-reload")
    line = json.dumps(
        {"level": "ERROR", "message": "it broke", "service": "s", "job_id": "j", "exception": "Trace\nback"}
    )
    write_handler(emulator.folder, f"def handler(e, c):\n    print({line!r})\n    return {{'statusCode': 204}}\n")

    emulator.call("GET", "/one/x")
    emulator.stop()

    assert "One: ERROR it broke job_id=j\nTrace\nback\n" in emulator.output
