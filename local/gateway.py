"""API Gateway's part: finds the function for a request, calls it and gives its answer."""

import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from uuid import uuid4

from local.environments import FunctionFailed, Functions, FunctionTimedOut, ShuttingDown
from local.events import MalformedAnswer, Request, Response, to_event, to_response
from local.template import Route

# https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html
_MAX_BODY_BYTES = 10 * 1024 * 1024
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html (request and response of a synchronous call)
_MAX_EVENT_BYTES = 6 * 1024 * 1024
# https://www.rfc-editor.org/rfc/rfc9110#section-8.6: no content, and no Content-Length that says so.
_BODILESS = frozenset({204, 304})
_REQUEST_ID = re.compile(rb"[\x20-\x7e]{1,128}")
_PARAMETER = re.compile(r"\{(\w+)(\+?)\}")

LogRequest = Callable[[Request, int, str, float, str, str], None]
LogFailure = Callable[[str, str], None]
_Message = MutableMapping[str, Any]


class Gateway:
    """The ASGI application that the web server runs."""

    def __init__(
        self, functions: Functions, routes: tuple[Route, ...], log_request: LogRequest, log_failure: LogFailure
    ) -> None:
        self._functions = functions
        self._log_request = log_request
        self._log_failure = log_failure
        self.use(routes)

    def use(self, routes: tuple[Route, ...]) -> None:
        self._routes = sorted((_Pattern(route) for route in routes), key=lambda pattern: pattern.precedence)

    async def __call__(
        self,
        scope: Mapping[str, Any],
        receive: Callable[[], Awaitable[_Message]],
        send: Callable[[_Message], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http":
            return
        began = time.perf_counter()
        request = _request(scope)
        request_id = str(uuid4())
        response, function, start = await self._answer(request, receive, request_id)
        if not _has(response, b"x-request-id"):
            response.headers.append((b"x-request-id", _callers_id(request) or request_id.encode()))
        if not (request.method == "HEAD" and _has(response, b"content-length")):
            response.headers = [field for field in response.headers if field[0] != b"content-length"]
            if response.status not in _BODILESS:
                response.headers.append((b"content-length", str(len(response.body)).encode()))
        await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
        bodiless = request.method == "HEAD" or response.status in _BODILESS
        await send({"type": "http.response.body", "body": b"" if bodiless else response.body})
        shown_id = next(value for name, value in response.headers if name == b"x-request-id").decode("latin-1")
        self._log_request(request, response.status, function, time.perf_counter() - began, start, shown_id)

    async def _answer(
        self, request: Request, receive: Callable[[], Awaitable[_Message]], request_id: str
    ) -> tuple[Response, str, str]:
        """The answer, with the function it comes from and how that was started."""
        body = await _read_body(receive)
        if body is None:
            return (
                _error(413, "PAYLOAD_TOO_LARGE", "The body is larger than the 10 MiB that API Gateway takes."),
                "-",
                "-",
            )
        request.body = body
        route, parameters = self._match(request.method, request.path)
        if route is None:
            return _error(404, "NOT_FOUND", "There is nothing at this path."), "-", "-"
        event = to_event(request, request_id, route.key, parameters)
        if len(body) * (4 / 3 if event["isBase64Encoded"] else 1) > _MAX_EVENT_BYTES:
            message = "The request is larger than the 6 MiB that Lambda takes."
            return _error(413, "PAYLOAD_TOO_LARGE", message), route.function, "-"
        response, start = await self._invoke(route.function, event)
        return response, route.function, start

    async def _invoke(self, function: str, event: dict[str, Any]) -> tuple[Response, str]:
        try:
            invocation = await self._functions.invoke(function, event)
            return to_response(invocation.result), "cold" if invocation.cold else "warm"
        except FunctionTimedOut as error:
            self._log_failure(function, str(error))
            return _error(504, "FUNCTION_TIMEOUT", "The function did not answer in time."), "killed"
        except (FunctionFailed, MalformedAnswer) as error:
            self._log_failure(function, str(error))
            return _error(502, "FUNCTION_ERROR", "The function failed; the log says why."), "failed"
        except ShuttingDown:
            return _error(503, "SHUTTING_DOWN", "The server is being stopped."), "-"

    def _match(self, method: str, path: str) -> tuple[Route | None, Mapping[str, str]]:
        for pattern in self._routes:
            parameters = pattern.match(method, path)
            if parameters is not None:
                return pattern.route, parameters
        return None, {}


class _Pattern:
    """A route's path, and where it stands in the order in which API Gateway tries routes.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-routes.html
    """

    def __init__(self, route: Route) -> None:
        self.route = route
        literal = _PARAMETER.split(route.path)
        # The split gives text, name, plus, text, name, plus, ..., text.
        parts = [re.escape(text) for text in literal[::3]]
        groups = [
            f"(?P<{name}>{'.+' if plus else '[^/]+'})" for name, plus in zip(literal[1::3], literal[2::3], strict=True)
        ]
        interleaved = "".join(part + group for part, group in zip(parts, [*groups, ""], strict=True))
        self._path = re.compile(interleaved, re.DOTALL) if route.key != "$default" else None
        greedy = "+" in literal[2::3]
        # A full match goes before a greedy one, the longer before the shorter, a method before ANY, $default last.
        self.precedence = (
            route.key == "$default",
            greedy,
            len(groups) if not greedy else 0,
            -len(route.path),
            route.method == "ANY",
        )

    def match(self, method: str, path: str) -> Mapping[str, str] | None:
        if self._path is None:
            return {}
        if self.route.method not in ("ANY", method):
            return None
        found = self._path.fullmatch(path)
        return None if found is None else found.groupdict()


def _request(scope: Mapping[str, Any]) -> Request:
    host, port = scope.get("server") or ("localhost", 0)
    return Request(
        method=scope["method"],
        path=scope["path"],
        query=scope["query_string"].decode("latin-1"),
        headers=scope["headers"],
        body=b"",
        source_ip=(scope.get("client") or ("127.0.0.1",))[0],
        host=host,
        port=port or 0,
        protocol=f"HTTP/{scope['http_version']}",
    )


async def _read_body(receive: Callable[[], Awaitable[_Message]]) -> bytes | None:
    """The whole body, or None when it is too large; then the rest is still read, so that the answer arrives."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= _MAX_BODY_BYTES:
            chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks) if size <= _MAX_BODY_BYTES else None


def _callers_id(request: Request) -> bytes | None:
    for name, value in request.headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return value
    return None


def _has(response: Response, header: bytes) -> bool:
    return any(name == header for name, _ in response.headers)


def _error(status: int, code: str, message: str) -> Response:
    body = json.dumps({"error": {"code": code, "message": message, "details": {}}}).encode()
    return Response(status, [(b"content-type", b"application/json")], body)
