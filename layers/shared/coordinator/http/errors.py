"""The one table of HTTP statuses, and the one shape of error bodies."""

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException

from coordinator.core.errors import CoordinatorError, Unauthorized

STATUS_OF = {
    "UNAUTHORIZED": 401,
    "SIGNATURE_REQUIRED": 401,
    "CHALLENGE_EXPIRED": 401,
    "INSUFFICIENT_FUNDS": 402,
    "FORBIDDEN": 403,
    "JOB_NOT_FOUND": 404,
    "MINER_NOT_FOUND": 404,
    "USER_NOT_FOUND": 404,
    "API_KEY_NOT_FOUND": 404,
    "RECEIPT_NOT_FOUND": 404,
    "PAYMENT_NOT_FOUND": 404,
    "AMOUNT_MISMATCH": 400,
    "AMOUNT_OUT_OF_RANGE": 400,
    "INVALID_JOB_TYPE": 400,
    "INVALID_RANGE": 400,
    "MINER_ID_REQUIRED": 400,
    "JOB_FINISHED": 409,
    "JOB_CANCELLED": 409,
    "LEASE_LOST": 409,
    "RESULT_CONFLICT": 409,
    "TOO_MANY_PAYMENTS": 409,
    "IDEMPOTENCY_IN_PROGRESS": 409,
    "PAYLOAD_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "VALIDATION_ERROR": 422,
    "BAD_SIGNATURE": 422,
    "INVALID_WALLET_ADDRESS": 422,
    "IDEMPOTENCY_KEY_REUSED": 422,
    "JOB_NOT_READY": 425,
    "RATE_LIMITED": 429,
    "NOT_READY": 503,
    "LOGIN_DISABLED": 503,
    "EXCHANGE_DISABLED": 503,
    "EXCHANGE_UNAVAILABLE": 503,
    "SIGNING_UNAVAILABLE": 503,
    "RECEIPT_NOT_LOGGED": 503,
}
HEADERS_OF = {
    "IDEMPOTENCY_IN_PROGRESS": {"Retry-After": "1"},
    "SIGNING_UNAVAILABLE": {"Retry-After": "5"},
    "EXCHANGE_UNAVAILABLE": {"Retry-After": "10"},
    "RECEIPT_NOT_LOGGED": {"Retry-After": "1"},
}
# Where the scope of a request says that what is routed as GET was HEAD.
WAS_HEAD = "coordinator.head"
_MESSAGES = {
    404: "There is nothing at this path.",
    405: "This path does not take this method.",
}


class UnsupportedMediaType(CoordinatorError):
    """The body must be JSON, sent with Content-Type: application/json."""

    code = "UNSUPPORTED_MEDIA_TYPE"


def status_of(kind: type[CoordinatorError]) -> int:
    """The status of an error: that of its code, but whoever is not let in gets a 401 whatever the code is.

    A wrong signature is BAD_SIGNATURE in a login as in a miner's result; only the latter's caller is known.
    """
    return HTTPStatus.UNAUTHORIZED if issubclass(kind, Unauthorized) else STATUS_OF[kind.code]


def error_response(
    status: int,
    code: str,
    message: str,
    details: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    body = {"error": {"code": code, "message": message, "details": details or {}}}
    return Response(json.dumps(body), status, headers, media_type="application/json")


async def on_coordinator_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, CoordinatorError)  # noqa: S101  (registered for this class only)
    headers: Mapping[str, str] | None = HEADERS_OF.get(error.code)
    if isinstance(error, Unauthorized):
        headers = {"WWW-Authenticate": error.scheme}
    return error_response(status_of(type(error)), error.code, error.message, error.details, headers)


async def on_validation_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    # What was sent is not sent back: it may be a secret, or nothing that JSON can carry.
    errors = [{"loc": _plain(e["loc"]), "msg": e["msg"], "type": e["type"]} for e in error.errors()]
    return error_response(422, "VALIDATION_ERROR", "The request is not valid.", {"errors": errors})


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Unknown paths and methods, as Starlette reports them."""
    assert isinstance(error, HTTPException)  # noqa: S101
    status = HTTPStatus(error.status_code)
    headers = {"Allow": _methods_at(request)} if status == HTTPStatus.METHOD_NOT_ALLOWED else error.headers
    return error_response(error.status_code, status.name, _MESSAGES.get(status, status.description), headers=headers)


async def on_unexpected_error(_request: Request, _error: Exception) -> Response:
    return error_response(500, "INTERNAL_ERROR", "Something went wrong here; the log knows it by the request id.")


def _methods_at(request: Request) -> str:
    """What the path takes, over all of its routes; Starlette itself names the first one's."""
    path = request.scope["path"].removeprefix(request.scope["root_path"])
    routes = [route for route in iter_route_contexts(request.app.routes) if route.path_regex.fullmatch(path)]
    methods = {method for route in routes for method in route.methods or ()}
    # Where HEAD gets this answer it is not taken, though GET is.
    return ", ".join(sorted(methods | {"HEAD"} if "GET" in methods and not request.scope[WAS_HEAD] else methods))


def _plain(location: Iterable[Any]) -> list[str | int]:
    return [part if isinstance(part, int) else str(part).encode("utf-8", "replace").decode() for part in location]
