"""What a route declares of its answers for the OpenAPI document; no request asks for it.

So it is plain data: FastAPI would make a type of each model here whenever a function starts.
"""

from typing import Any

from coordinator.core.errors import CoordinatorError
from coordinator.http.errors import status_of

Responses = dict[int | str, dict[str, Any]]

LOCATION = {
    "Location": {
        "description": "The path of what was made.",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference"},
    }
}


def errors(*kinds: type[CoordinatorError]) -> Responses:
    """The `responses` of a route that may raise these errors beside those that come with its kind of route."""
    responses: Responses = {}
    for kind in kinds:
        response = responses.setdefault(status_of(kind), {"content": {"application/json": {}}})
        response["content"]["application/json"].setdefault("examples", {})[kind.code] = error_example(kind)
    return responses


def error_example(kind: type[CoordinatorError]) -> dict[str, Any]:
    example = kind()
    body = {"code": example.code, "message": example.message, "details": example.details}
    return {"value": {"error": body}}
