"""The one OpenAPI document of the whole API, merged over the functions' routers."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.utils import deep_dict_update
from pydantic import BaseModel, Field

from coordinator.core.errors import CoordinatorError, Forbidden, InvalidInput, PayloadTooLarge, Unauthorized
from coordinator.http.errors import HEADERS_OF, UnsupportedMediaType
from coordinator.http.limits import RateLimited
from coordinator.http.responses import errors
from coordinator.http.route import JsonRoute
from coordinator.idempotency.errors import IdempotencyInProgress, IdempotencyKeyReused
from coordinator.users.errors import SessionRequired

_DESCRIPTION = """\
A coordinator for a market of computation: clients submit jobs, miners lease and run them, and every finished job
yields a signed receipt that anyone can verify offline.

- Every path is served as written and under `/api`.
- Bodies are JSON. Unknown fields are ignored; wrong types are refused.
- Ids are UUIDv7. Times are RFC 3339 in UTC. Amounts of AITBC are decimal strings with at most 8 places.
- Every answer carries `X-Request-Id`, which names the request in the coordinator's log. Send one of your own (1 to 128
  printable ASCII characters) to find it again.
- Calls are limited by the minute: those of clients and miners for each key, those of users for each user; logins, those
  for published keys and receipts, and those whose key is refused by address. `RateLimit-Policy` names the limit,
  `RateLimit` says what is left of it; a call too many is a 429 with `Retry-After`.
- Every error has the same body. Programs go by its `code`; beside those listed, 5xx answers may come from whatever
  stands in front.
"""
_TAGS = {
    "client": "Clients submit jobs, follow them, and fetch results and receipts.",
    "miner": "Miners register, send heartbeats, lease jobs and post results. A key may run several miners. "
    "All calls of a miner that an operator has disabled are a 403.",
    "users": "Owners of wallets log in, make API keys for their programs, and see what they have and how it came.",
    "exchange": "Users buy AITBC with bitcoin.",
    "admin": "Operators see everybody's jobs, miners, users, payments and receipts, and step in. "
    "All that they change is in the audit.",
    "receipts": "Anyone may verify receipts, and that the log of all receipts only grows.",
    "public": "What anyone may ask.",
}
_SECURITY_SCHEMES = {
    "ApiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Api-Key",
        "description": "The operator hands out keys; each has one or more roles: client, miner, admin. Users make keys "
        "of the role client or miner for themselves.",
    },
    "SessionToken": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Session-Token",
        "description": "The `session_token` of a login; good for 24 hours, until the user logs out.",
    },
    "MetricsToken": {
        "type": "http",
        "scheme": "bearer",
        "description": "The operator's METRICS_TOKEN, where one is set.",
    },
}
_HEADERS = {
    "X-Request-Id": {
        "description": "Names the request in the log.",
        "required": True,
        "schema": {"type": "string", "pattern": r"^[\x20-\x7e]{1,128}$"},
        "example": "0199a3c4-51f7-4f6e-9d0b-6f1f6d1f2a30",
    },
    "WWW-Authenticate": {
        "description": "How to authenticate.",
        "required": True,
        "schema": {"type": "string"},
        "example": "ApiKey",
    },
    "Retry-After": {
        "description": "After how many seconds to send the request again.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
        "example": "1",
    },
    "RateLimit": {
        "description": "How many calls are left to the group (`r`), and in how many seconds there is one more (`t`); "
        "as in draft-ietf-httpapi-ratelimit-headers-11. Missing when there is no limit.",
        "schema": {"type": "string"},
        "example": '"client";r=99;t=60',
    },
    "RateLimit-Policy": {
        "description": "How many calls the group allows (`q`) in how many seconds (`w`).",
        "schema": {"type": "string"},
        "example": '"client";q=100;w=60',
    },
    "Idempotency-Replayed": {
        "description": "`true` when this is the first answer to the same request, given again.",
        "schema": {"type": "string", "const": "true"},
        "example": "true",
    },
}
# Refused keys are counted everywhere.
_REFUSALS = {"401", "403", "429"}
# What FastAPI makes of Page[JobRead].
_PAGE = re.compile(r"\bPage[_\[](\w+?)(?:Read)?[_\]]")
_INTERNAL_ERROR = {
    "code": "INTERNAL_ERROR",
    "message": "Something went wrong here; the log knows it by the request id.",
    "details": {},
}
_DEFAULT_RESPONSE = {
    "description": "Any other error, such as a 500 `INTERNAL_ERROR`: try again later.",
    "headers": {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}},
    "content": {
        "application/json": {
            "schema": {"$ref": "#/components/schemas/ErrorBody"},
            "examples": {"INTERNAL_ERROR": {"value": {"error": _INTERNAL_ERROR}}},
        }
    },
}


class ErrorDetail(BaseModel):
    """What went wrong."""

    code: str = Field(description="For a program, such as `JOB_NOT_FOUND`.")
    message: str = Field(description="For a person.")
    details: dict[str, Any] = Field(description="More for a program, by code; often empty.")


class ErrorBody(BaseModel):
    """The body of every answer that is not a success."""

    error: ErrorDetail


@dataclass(frozen=True, kw_only=True)
class Illustration:
    """What the document shows of an operation beside its types: examples by name, and where to go from its answer.

    A link names the operation that may follow, and where its parameters and its body are found in this answer
    (https://spec.openapis.org/oas/v3.1.1.html#runtime-expressions).
    """

    answers: Mapping[int, Mapping[str, Any]]
    bodies: Mapping[str, Any] = field(default_factory=dict)
    links: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def merged_document(*routers: APIRouter, illustrations: Mapping[str, Illustration]) -> dict[str, Any]:
    """The document of all these routers' operations, each illustrated under its operation id."""
    app = FastAPI(
        title="AITBC coordinator",
        version="1",
        description=_DESCRIPTION,
        openapi_tags=[{"name": name, "description": text} for name, text in _TAGS.items()],
        servers=[{"url": "/"}, {"url": "/api"}],
        # A body that is read and written has one name.
        separate_input_output_schemas=False,
        generate_unique_id_function=lambda route: route.name,
    )
    for router in routers:
        app.include_router(router, responses={"default": {"model": ErrorBody, "description": "Replaced below."}})
    document: dict[str, Any] = json.loads(_PAGE.sub(r"\1Page", json.dumps(app.openapi())))
    components = document["components"]
    components["securitySchemes"] = _SECURITY_SCHEMES
    components["headers"] = _HEADERS
    components["responses"] = {"UNEXPECTED": _DEFAULT_RESPONSE}
    for schema in components["schemas"].values():
        # FastAPI's titles say a field's name once more.
        for described in schema.get("properties", {}).values():
            described.pop("title", None)
    groups = {route.name: route.group for router in routers for route in router.routes if isinstance(route, JsonRoute)}
    for operations in document["paths"].values():
        for operation in operations.values():
            _complete(operation, limited=groups[operation["operationId"]] is not None)
            _illustrate(operation, illustrations[operation["operationId"]])
            _share_errors(operation, components["responses"])
    return document


def _complete(operation: dict[str, Any], *, limited: bool) -> None:
    """Adds what follows from the kind of operation and from its docstring: a title, an empty line, the rest."""
    title, _, operation["description"] = operation["description"].partition("\n\n")
    operation["summary"] = title.removesuffix(".")
    operation.setdefault("security", [])
    for parameter in operation.get("parameters", ()):
        del parameter["schema"]["title"]
        _forbid_null(parameter)
    responses = operation["responses"]
    of_kind = errors(*_errors_of_kind(operation, limited=limited))
    deep_dict_update(responses, {str(status): answer for status, answer in of_kind.items()})
    for status, response in responses.items():
        names = ["X-Request-Id"]
        if limited or ({"ApiKey": []} in operation["security"] and status in _REFUSALS):
            names += ("RateLimit-Policy", "RateLimit")
        if status.startswith("2") and _takes_idempotency_key(operation):
            names.append("Idempotency-Replayed")
        response.pop("model", None)
        if status.startswith(("4", "5")):
            # Errors are JSON, whatever else the route answers with.
            body = response["content"]["application/json"] | {"schema": {"$ref": "#/components/schemas/ErrorBody"}}
            response["content"] = {"application/json": body}
            examples = response["content"]["application/json"]["examples"]
            names += (name for code in examples for name in HEADERS_OF.get(code, ()))
            if status == "401":
                names.append("WWW-Authenticate")
            if status == "429":
                names.append("Retry-After")
            response["description"] = "\n\n".join(
                f"`{code}`: {example['value']['error']['message']}" for code, example in sorted(examples.items())
            )
        response.setdefault("headers", {}).update({name: {"$ref": f"#/components/headers/{name}"} for name in names})
    operation["responses"] = dict(sorted(responses.items()))


def _errors_of_kind(operation: Mapping[str, Any], *, limited: bool) -> Iterator[type[CoordinatorError]]:
    """What is answered before the route's own function runs."""
    needs_key = {"ApiKey": []} in operation["security"]
    if needs_key:
        yield from (Unauthorized, Forbidden)
    elif {"SessionToken": []} in operation["security"]:
        yield SessionRequired
    if needs_key or limited:
        yield RateLimited
    if "requestBody" in operation:
        yield from (PayloadTooLarge, UnsupportedMediaType)
    if "requestBody" in operation or "parameters" in operation:
        yield InvalidInput
    if _takes_idempotency_key(operation):
        yield from (IdempotencyInProgress, IdempotencyKeyReused)


def _takes_idempotency_key(operation: Mapping[str, Any]) -> bool:
    return any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", ()))


def _forbid_null(parameter: dict[str, Any]) -> None:
    """What may be null in the function may be left out of the request; but a query or header can't say null."""
    possible = [schema for schema in parameter["schema"].pop("anyOf", ()) if schema != {"type": "null"}]
    if possible:
        (only,) = possible
        parameter["schema"] |= only


def _illustrate(operation: dict[str, Any], illustration: Illustration) -> None:
    for status, examples in illustration.answers.items():
        for content in operation["responses"][str(status)]["content"].values():
            content["examples"] = _named(examples)
    if illustration.bodies:
        operation["requestBody"]["content"]["application/json"]["examples"] = _named(illustration.bodies)
    for status, response in operation["responses"].items():
        if status.startswith("2") and illustration.links:
            response["links"] = {name: {"operationId": name, **link} for name, link in illustration.links.items()}


def _named(examples: Mapping[str, Any]) -> dict[str, Any]:
    return {name: {"value": value} for name, value in examples.items()}


def _share_errors(operation: dict[str, Any], shared: dict[str, Any]) -> None:
    """Puts every error answer with only one code into the components, under this code, unless another has its place."""
    for status, response in operation["responses"].items():
        if status == "default":
            operation["responses"][status] = {"$ref": "#/components/responses/UNEXPECTED"}
        elif status.startswith(("4", "5")) and len(response["content"]["application/json"]["examples"]) == 1:
            code = next(iter(response["content"]["application/json"]["examples"]))
            if shared.setdefault(code, response) == response:
                operation["responses"][status] = {"$ref": f"#/components/responses/{code}"}
