"""Between HTTP and API Gateway's payload format 2.0.

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

import base64
import binascii
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

_ACCOUNT = "123456789012"
_API_ID = "local"
_TEXT = re.compile(r"(text/.*|application/(json|javascript|xml|x-www-form-urlencoded|.*\+json|.*\+xml))", re.IGNORECASE)
# https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2 (token) and #section-5.5 (field values)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
# Those that concern one connection; the server sets its own.
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "upgrade", "trailer", "te", "proxy-connection"}
)


@dataclass
class Request:
    method: str
    path: str
    query: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    source_ip: str
    host: str
    port: int
    protocol: str


@dataclass
class Response:
    status: int
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""


class MalformedAnswer(Exception):
    """The function's answer is not one that API Gateway understands."""


def to_event(request: Request, request_id: str, route_key: str, path_parameters: Mapping[str, str]) -> dict[str, Any]:
    """The event that a function is called with."""
    headers, cookies = _joined_headers(request)
    query = _joined(parse_qsl(request.query, keep_blank_values=True))
    body, is_base64 = _text_or_base64(request.body, headers.get("content-type", ""))
    now = time.time()
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": route_key,
        "rawPath": request.path,
        "rawQueryString": request.query,
        "headers": headers,
        "requestContext": {
            "accountId": _ACCOUNT,
            "apiId": _API_ID,
            "domainName": headers.get("host", request.host),
            "domainPrefix": headers.get("host", request.host).partition(".")[0],
            "http": {
                "method": request.method,
                "path": request.path,
                "protocol": request.protocol,
                "sourceIp": request.source_ip,
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": request_id,
            "routeKey": route_key,
            "stage": "$default",
            "time": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
            "timeEpoch": int(now * 1000),
        },
        "isBase64Encoded": is_base64,
    }
    optional = {"cookies": cookies, "queryStringParameters": query, "pathParameters": path_parameters, "body": body}
    event.update({name: value for name, value in optional.items() if value})
    return event


def to_response(answer: Any) -> Response:
    """What API Gateway makes of a function's answer; one without statusCode is a 200 with itself as JSON.

    Raises:
        MalformedAnswer: its parts have the wrong types.
    """
    if not isinstance(answer, dict) or "statusCode" not in answer:
        body = answer if isinstance(answer, str) else json.dumps(answer)
        return Response(200, [(b"content-type", b"application/json")], body.encode())
    headers = [
        *_header_fields(answer.get("headers") or {}),
        *[(b"set-cookie", cookie.encode("latin-1", "replace")) for cookie in answer.get("cookies") or []],
    ]
    try:
        status = int(answer["statusCode"])
        body = str(answer.get("body") or "")
        content = base64.b64decode(body, validate=True) if answer.get("isBase64Encoded") else body.encode()
    except (TypeError, ValueError, binascii.Error) as error:
        raise MalformedAnswer(str(error)) from error
    if not 100 <= status <= 599:  # noqa: PLR2004
        raise MalformedAnswer(f"statusCode {status}")
    return Response(status, headers, content)


def _joined_headers(request: Request) -> tuple[dict[str, str], list[str]]:
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for raw_name, raw_value in request.headers:
        name, value = raw_name.decode("latin-1").lower(), _decoded(raw_value)
        if name == "cookie":
            cookies += [cookie.strip() for cookie in value.split(";") if cookie.strip()]
        else:
            headers[name] = f"{headers[name]},{value}" if name in headers else value
    forwarded = headers.get("x-forwarded-for")
    headers["x-forwarded-for"] = f"{forwarded}, {request.source_ip}" if forwarded else request.source_ip
    headers["x-forwarded-port"] = str(request.port)
    headers["x-forwarded-proto"] = "http"
    return headers, cookies


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _joined(pairs: list[tuple[str, str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in pairs:
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def _text_or_base64(body: bytes, content_type: str) -> tuple[str, bool]:
    if not body:
        return "", False
    media_type = content_type.partition(";")[0].strip()
    if not media_type or _TEXT.fullmatch(media_type):
        try:
            return body.decode(), False
        except UnicodeDecodeError:
            pass
    return base64.b64encode(body).decode(), True


def _header_fields(headers: Any) -> list[tuple[bytes, bytes]]:
    """Leaves out what would break the answer's framing."""
    if not isinstance(headers, dict):
        raise MalformedAnswer("headers must be an object")
    fields = []
    for name, value in headers.items():
        text = str(value)
        lower = str(name).lower()
        if lower not in _HOP_BY_HOP and _HEADER_NAME.fullmatch(lower) and _HEADER_VALUE.fullmatch(text):
            fields.append((lower.encode(), text.encode("latin-1")))
    return fields
