"""Around every request, whatever becomes of it: id, metrics, log line, security headers, the last resort, HEAD."""

import re
import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from coordinator.core.log import log_exception
from coordinator.http.errors import WAS_HEAD, on_unexpected_error
from coordinator.http.journal import tell
from coordinator.http.metrics import Observed
from coordinator.http.security import security_headers
from coordinator.metrics.flushing import flusher

_PRINTABLE_ID = re.compile(rb"[\x20-\x7e]{1,128}")
_PREFIX = "/api"
# Where the list is kept of what else the answer's head must have, whatever becomes of the request.
_ADDED = "coordinator.headers"


class Envelope:
    """The outermost ASGI application of a function."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        request_id = _request_id(scope)
        status = 0
        location = b""
        method = scope["method"]
        head = method == "HEAD"

        async def send_enveloped(message: Message) -> None:
            nonlocal status, location
            if message["type"] == "http.response.start":
                status = message["status"]
                secured = security_headers(message["headers"], scope["scheme"])
                location = next((value for name, value in message["headers"] if name == b"location"), b"")
                message["headers"] = [*message["headers"], *secured, (b"x-request-id", request_id), *scope[_ADDED]]
            elif head:
                message = {**message, "body": b""}
            await send(message)

        routed = "GET" if head else method
        scope = {**scope, "method": routed, "root_path": _root_path(scope["path"]), _ADDED: [], WAS_HEAD: head}
        try:
            await self._app(scope, receive, send_enveloped)
        except Exception as error:  # noqa: BLE001
            log_exception("request failed", error, request_id=request_id.decode())
            if not status:
                response = await on_unexpected_error(Request(scope), Exception())
                await response(scope, receive, send_enveloped)
        finally:
            observed = Observed.of(scope, method, status or 500, time.perf_counter() - began)
            observed.note()
            tell(scope, observed, request_id.decode(), location.decode("latin-1"))
            flusher().request_ended()


def add_header(request: Request, name: str, value: str) -> None:
    """Gives the answer a header, also where it becomes an error."""
    request.scope[_ADDED].append((name.encode(), value.encode()))


async def refuse_head(request: Request) -> None:
    """A dependency for a GET that has an effect: asked by HEAD it would have it too, and nobody would be told.

    Raises:
        HTTPException: the request is HEAD.
    """
    if request.scope[WAS_HEAD]:
        raise HTTPException(405)


def _root_path(path: str) -> str:
    """Every path is also served under /api; the router takes the rest."""
    return _PREFIX if path == _PREFIX or path.startswith(_PREFIX + "/") else ""


def _request_id(scope: Scope) -> bytes:
    """The caller's own id if it is fit to be repeated, else that of the event."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _PRINTABLE_ID.fullmatch(value):
            return bytes(value)
    event: Mapping[str, Any] = scope.get("aws.event", {})
    own = event.get("requestContext", {}).get("requestId")
    return str(own or uuid4()).encode()
