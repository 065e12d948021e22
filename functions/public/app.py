"""Health, the OpenAPI document and its pages, receipt keys; and the answer to every unknown path."""

import coordinator.http.starting  # noqa: F401  (before all else)

# isort: split
import json
from functools import cache
from pathlib import Path
from typing import Any, Literal

import fastapi_offline
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse
from pydantic import BaseModel, Field
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from coordinator.core.database import database
from coordinator.core.errors import NotReady, Unauthorized
from coordinator.http.app import create_app, lambda_handler
from coordinator.http.errors import error_response
from coordinator.http.responses import errors
from coordinator.http.route import JsonRoute, PublicRoute
from coordinator.http.security import page_policy
from coordinator.jobs.gauges import gauges
from coordinator.ledger.check import latest
from coordinator.metrics.counters import totals
from coordinator.migrations import HEAD
from coordinator.payments.gauges import payment_gauges
from coordinator.receipts.gauges import log_gauges
from coordinator.receipts.keys import published_keys
from public.exposition import CONTENT_TYPE, exposition, may_read

_DOCUMENT = Path(__file__).with_name("openapi.json")
_ASSETS = Path(fastapi_offline.__file__).with_name("static")
_REDOC = "redoc.standalone.js"
_ASSET_NAMES = frozenset({"swagger-ui-bundle.js", "swagger-ui.css", _REDOC, "favicon.png"})
_ASSET_HEADERS = {"Cache-Control": "public, max-age=86400"}
# ReDoc's only request to another host: its logo, which becomes one transparent pixel.
_FOREIGN_LOGO = b"https://cdn.redoc.ly/redoc/logo-mini.svg"
_NO_LOGO = b"data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="

router = APIRouter(tags=["public"], route_class=JsonRoute)
keys = APIRouter(tags=["public"], route_class=PublicRoute)
pages = APIRouter(include_in_schema=False, route_class=JsonRoute)


class Health(BaseModel):
    """Anything else is an error."""

    status: Literal["ok", "ready"] = Field(description="`ok`: it runs. `ready`: it can serve.")


class ReceiptKeys(BaseModel):
    """A JWK Set (RFC 7517)."""

    keys: list[dict[str, str]] = Field(description="Public keys, oldest first.")


@router.get("/health", response_description="It runs.")
async def get_health() -> Health:
    """Say that the service runs.

    Asks no database, so it says nothing of that.
    """
    return Health(status="ok")


@router.get("/health/ready", response_description="It can serve.", responses=errors(NotReady))
async def get_readiness() -> Health:
    """Say that the service can serve.

    The database is there and has this release's schema.
    """
    try:
        revision = database().read(lambda tx: tx.scalar(text("SELECT version_num FROM alembic_version")))
    except DBAPIError as error:
        raise NotReady from error
    if revision != HEAD:
        raise NotReady("The database is not migrated to this release's schema.", revision=revision, needed=HEAD)
    return Health(status="ready")


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    response_description="Prometheus's text format.",
    responses=errors(Unauthorized, NotReady),
    openapi_extra={"security": [{}, {"MetricsToken": []}]},
)
async def get_metrics(request: Request) -> Response:
    """Read all metrics.

    For Prometheus (text format 0.0.4): sums over all instances, whichever is asked. Where the operator has set a token,
    it must be sent.
    """
    if not may_read(request.headers.get("authorization")):
        headers = {"WWW-Authenticate": "Bearer"}
        return error_response(401, "UNAUTHORIZED", "Send the metrics token as a bearer token.", headers=headers)
    try:
        shown = database().read(
            lambda tx: exposition(totals(tx), gauges(tx), latest(tx), log_gauges(tx), payment_gauges(tx))
        )
    except DBAPIError as error:
        raise NotReady from error
    return PlainTextResponse(shown, headers={"Cache-Control": "no-store"}, media_type=CONTENT_TYPE)


@keys.get("/.well-known/jwks.json", response_description="A JWK Set.")
async def get_receipt_keys(response: Response) -> ReceiptKeys:
    """List the public keys that verify receipts.

    As a JWK Set (RFC 7517), past keys included: a receipt's `kid` names one of them.
    """
    response.headers["Cache-Control"] = "public, max-age=300"
    return ReceiptKeys(keys=published_keys())


@pages.get("/openapi.json")
async def get_openapi(request: Request) -> Response:
    prefix = request.scope["root_path"]
    return JSONResponse({**_document(), "servers": [{"url": prefix or "/"}]})


@pages.get("/docs")
async def get_swagger_ui() -> HTMLResponse:
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title="AITBC coordinator: API",
        swagger_js_url="docs/assets/swagger-ui-bundle.js",
        swagger_css_url="docs/assets/swagger-ui.css",
        swagger_favicon_url="docs/assets/favicon.png",
    )
    return _secured(page)


@pages.get("/redoc")
async def get_redoc() -> HTMLResponse:
    page = get_redoc_html(
        openapi_url="openapi.json",
        title="AITBC coordinator: API",
        redoc_js_url=f"docs/assets/{_REDOC}",
        redoc_favicon_url="docs/assets/favicon.png",
        with_google_fonts=False,
    )
    return _secured(page)


@pages.get("/docs/assets/{name}")
async def get_asset(name: str) -> Response:
    if name not in _ASSET_NAMES:
        raise HTTPException(404)
    if name == _REDOC:
        return Response(_redoc(), headers=_ASSET_HEADERS, media_type="text/javascript")
    return FileResponse(_ASSETS / name, headers=_ASSET_HEADERS)


@cache
def _redoc() -> bytes:
    return (_ASSETS / _REDOC).read_bytes().replace(_FOREIGN_LOGO, _NO_LOGO)


def _secured(page: HTMLResponse) -> HTMLResponse:
    page.headers["Content-Security-Policy"] = page_policy(bytes(page.body).decode())
    return page


@cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(_DOCUMENT.read_text())
    return document


app = create_app(router, keys, pages)
handler = lambda_handler(app)
