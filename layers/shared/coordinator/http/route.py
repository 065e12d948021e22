"""What every route does before its function runs: who calls and how often, is the body sound JSON."""

import math
import re
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, ClassVar

import pydantic_core
from fastapi import Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from coordinator.core.errors import Forbidden, InvalidInput, PayloadTooLarge, Unauthorized
from coordinator.http.errors import UnsupportedMediaType
from coordinator.http.limits import Group, count_call, settle_count
from coordinator.users.keys import Principal, Role, authenticate
from coordinator.users.sessions import authenticate_session

MAX_DEPTH = 64

# Administrators are few, and must get through when it matters.
_GROUP_OF = {Role.CLIENT: Group.CLIENT, Role.MINER: Group.MINER, Role.ADMIN: None}
# Canonical JSON writes a float between these as an integer that it would not take (RFC 8785, section 3.2.2.3), so what
# is handed out could not come back.
_MAX_SAFE_INTEGER = 2**53 - 1
_LEAST_WITH_EXPONENT = 1e21
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')

_Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class JsonRoute(APIRoute):
    """Reads the body as strict JSON: bounded in size and depth, no NaN, no lone surrogates, no NUL, no name twice."""

    # Which group's limit holds for calls that are served; the OpenAPI document says so too.
    group: ClassVar[Group | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # A missing media type is taken as JSON; any other is looked at here.
        super().__init__(*args, **{**kwargs, "strict_content_type": False})

    def get_route_handler(self) -> _Handler:
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                self.authenticate(request)
                _require_no_nul(request)
                body = await request.body()
                if len(body) > PayloadTooLarge.most_bytes:
                    raise PayloadTooLarge
                if body and self.body_field is not None:
                    _require_json(request)
                    # Where Starlette keeps what `request.json()` has parsed.
                    request._json = request.state.json = parse_json(body)  # noqa: SLF001
                return await inner(request)
            finally:
                settle_count(request)

        return handle

    def authenticate(self, request: Request) -> None:
        """Anyone may call, as often as they like."""


def route_for(role: Role) -> type[JsonRoute]:
    """A route that only keys with this role may call; the key is checked before the body is looked at."""

    class RoleRoute(JsonRoute):
        group = _GROUP_OF[role]

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.openapi_extra = {"security": [{"ApiKey": []}]}

        def authenticate(self, request: Request) -> None:
            _authenticate_key(request, role)

    return RoleRoute


def _authenticate_key(request: Request, role: Role) -> None:
    try:
        principal = authenticate(request.headers.get("x-api-key"), role)
    except (Unauthorized, Forbidden):
        # By address, so that nobody tries many keys; one that is known is still served from there.
        count_call(request, _GROUP_OF[role] or Group.USER, None)
        raise
    count_call(request, _GROUP_OF[role], principal.id)
    request.state.principal = principal


class UserRoute(JsonRoute):
    """A route that users may call who have logged in."""

    group = Group.USER

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.openapi_extra = {"security": [{"SessionToken": []}]}

    def authenticate(self, request: Request) -> None:
        try:
            principal = authenticate_session(request.headers.get("x-session-token"))
        except Unauthorized:
            count_call(request, self.group, None)
            raise
        count_call(request, self.group, principal.id)
        request.state.principal = principal


def route_for_user_or_admin() -> type[JsonRoute]:
    """A route at a path with `{user_id}` that this user may call, and keys of the admin role.

    Whoever sends a session token is judged by that alone.
    """

    class UserOrAdminRoute(UserRoute):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.openapi_extra = {"security": [{"SessionToken": []}, {"ApiKey": []}]}

        def authenticate(self, request: Request) -> None:
            if "x-session-token" not in request.headers:
                _authenticate_key(request, Role.ADMIN)
                return
            super().authenticate(request)
            if request.state.principal.user_id != request.path_params["user_id"]:
                raise Forbidden("This is another user's account.")

    return UserOrAdminRoute


class PublicRoute(JsonRoute):
    """A route that anyone may call, but nobody too often."""

    group = Group.USER

    def authenticate(self, request: Request) -> None:
        count_call(request, self.group, None)


async def _principal(request: Request) -> Principal:
    principal: Principal = request.state.principal
    return principal


Caller = Annotated[Principal, Depends(_principal)]


def parse_json(body: bytes) -> Any:
    """Parses a body.

    Raises:
        RequestValidationError: it is no JSON, or JSON that we can't store.
    """
    try:
        value = pydantic_core.from_json(body, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        raise _invalid("json_invalid", str(error)) from error
    _require_storable(value, MAX_DEPTH)
    # Outside of strings a colon stands between a name and its value, and nowhere else.
    if _STRING.sub(b"", body).count(b":") != _count_members(value):
        raise _invalid("json_name_twice", "a name stands twice in an object")
    return value


def _require_no_nul(request: Request) -> None:
    if "\0" in request.scope["path"] or b"%00" in request.scope["query_string"]:
        raise InvalidInput.at("path or query", message="may not contain NUL", kind="nul_in_string")


def _require_json(request: Request) -> None:
    """A browser's form can't be mistaken for a call."""
    media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise UnsupportedMediaType


def _invalid(kind: str, message: str) -> RequestValidationError:
    return RequestValidationError([{"loc": ("body",), "msg": message, "type": kind}])


def _require_storable(value: Any, levels: int) -> None:
    if isinstance(value, str):
        if "\0" in value:
            raise _invalid("nul_in_string", "strings may not contain NUL")
    elif isinstance(value, float):
        if not math.isfinite(value) or _MAX_SAFE_INTEGER < abs(value) < _LEAST_WITH_EXPONENT:
            raise _invalid("number_out_of_range", "a number is out of range")
    elif isinstance(value, dict | list):
        if levels == 0:
            raise _invalid("json_too_deep", f"nested deeper than {MAX_DEPTH} levels")
        for child in value:
            _require_storable(child, levels - 1)
        if isinstance(value, dict):
            for child in value.values():
                _require_storable(child, levels - 1)


def _count_members(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(_count_members, value.values()))
    return sum(map(_count_members, value)) if isinstance(value, list) else 0
