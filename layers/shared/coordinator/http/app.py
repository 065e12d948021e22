"""Makes the FastAPI application and the Lambda handler of a function."""

import gc
import logging
import re
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.telemetry import TelemetryConfig
from mangum import Mangum
from starlette.exceptions import HTTPException

from coordinator.core.config import renew_secrets, settings
from coordinator.core.database import load_driver
from coordinator.core.errors import CoordinatorError
from coordinator.http.asgi import Envelope
from coordinator.http.cors import Cors
from coordinator.http.errors import (
    on_coordinator_error,
    on_http_exception,
    on_unexpected_error,
    on_validation_error,
)

Handler = Callable[[dict[str, Any], Any], dict[str, Any]]

# All that a request may carry to us and read from us across origins.
_CORS_HEADERS = ["X-Api-Key", "X-Session-Token", "X-Miner-Id", "X-Request-Id", "Idempotency-Key", "Content-Type"]
_CORS_EXPOSED = ["X-Request-Id", "Location", "Retry-After", "RateLimit", "RateLimit-Policy", "Idempotency-Replayed"]
# Requests are logged and counted by the envelope; nobody is asked for each whether there is a tracer.
_NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}
_HOST = re.compile(r"[^:\[\]]*(:[0-9]{1,5})?")

# The envelope tells of each request. Where Lambda prints all that is INFO, Mangum would tell of it once more.
logging.getLogger("mangum.http").setLevel(logging.WARNING)


def create_app(*routers: APIRouter) -> FastAPI:
    """One function's application; the document and its pages are served by the public function for all of them."""
    app = FastAPI(
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
    )
    for router in routers:
        # Not included: FastAPI then matches each request three times, and ours have no options of an application.
        app.router.routes.extend(router.routes)
    app.add_exception_handler(CoordinatorError, on_coordinator_error)
    app.add_exception_handler(RequestValidationError, on_validation_error)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(Exception, on_unexpected_error)
    return app


def lambda_handler(app: FastAPI) -> Handler:
    """The entry point that Lambda calls with API Gateway events (payload format 2.0)."""
    adapter = Mangum(_enveloped(app), lifespan="off")
    load_driver()
    # All that was imported stays; the collector, which has waited (`starting`), need not go through it again and again.
    gc.freeze()
    gc.enable()

    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        # Mangum breaks on hosts that it can't split, such as [::1]:8000; nothing of ours depends on the host.
        host = event.get("headers", {}).get("host")
        if host is not None and _HOST.fullmatch(host) is None:
            event["headers"]["host"] = "invalid"
        renew_secrets()
        return adapter(event, context)

    return handler


def _enveloped(app: FastAPI) -> Envelope:
    origins = settings().cors_allow_origins
    if not origins:
        return Envelope(app)
    return Envelope(
        Cors(
            app,
            allow_origins=origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=_CORS_HEADERS,
            expose_headers=_CORS_EXPOSED,
        )
    )
