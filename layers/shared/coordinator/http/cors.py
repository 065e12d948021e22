"""Which other origins' pages may call (https://fetch.spec.whatwg.org/#http-cors-protocol)."""

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from coordinator.http.errors import error_response


class Cors(CORSMiddleware):
    """Refuses a preflight with the error body of all other refusals."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code < 400:  # noqa: PLR2004
            return response
        kept = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
        return error_response(response.status_code, "CORS_REFUSED", bytes(response.body).decode() + ".", headers=kept)
