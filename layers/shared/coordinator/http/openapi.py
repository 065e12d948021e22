"""The one OpenAPI document of the whole API, merged over the functions' routers."""

from typing import Any

from fastapi import APIRouter, FastAPI
from pydantic import BaseModel

_DESCRIPTION = """\
A coordinator for a market of computation: clients submit jobs, miners lease and run them, and every finished job
yields a signed receipt that anyone can verify offline.

Every path is served as written and under `/api`. Every answer carries `X-Request-Id`. Every error has the same body.
"""


class ErrorDetail(BaseModel):
    code: str
    message: str
    details: dict[str, Any]


class ErrorBody(BaseModel):
    error: ErrorDetail


def merged_document(*routers: APIRouter) -> dict[str, Any]:
    """The document of all these routers' operations."""
    app = FastAPI(
        title="AITBC coordinator",
        version="1",
        description=_DESCRIPTION,
        generate_unique_id_function=lambda route: route.name,
    )
    for router in routers:
        app.include_router(router, responses={"default": {"model": ErrorBody, "description": "An error"}})
    document = app.openapi()
    document["components"]["securitySchemes"] = {
        "ApiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    }
    _describe_validation_errors(document)
    return document


def _describe_validation_errors(document: dict[str, Any]) -> None:
    """Replaces FastAPI's own shape of validation errors, which this API does not answer with."""
    error = {"$ref": "#/components/schemas/ErrorBody"}
    for path in document["paths"].values():
        for operation in path.values():
            if "422" in operation["responses"]:
                operation["responses"]["422"]["content"]["application/json"]["schema"] = error
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)
