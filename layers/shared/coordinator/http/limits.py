"""How often a principal may call each group of routes, and what its answers say of that."""

from enum import StrEnum
from functools import cache
from ipaddress import IPv6Address, ip_address

from fastapi import Request

from coordinator.core.clock import SECOND_US
from coordinator.core.config import settings
from coordinator.core.database import settle_before_transactions
from coordinator.core.errors import CoordinatorError
from coordinator.core.log import log_exception
from coordinator.core.rates import WINDOW_US, rates
from coordinator.http.asgi import add_header

# Where a request keeps its group and what will give the verdict, until it is settled.
_COUNT = "coordinator.count"
_WINDOW_SECONDS = WINDOW_US // SECOND_US
# https://www.rfc-editor.org/rfc/rfc6177: the least that one site is given; within it an address costs nothing.
_IPV6_SITE_BITS = 64


class Group(StrEnum):
    CLIENT = "client"
    MINER = "miner"
    USER = "user"


class RateLimited(CoordinatorError):
    """Too many requests within a minute; Retry-After says how many seconds to wait."""

    code = "RATE_LIMITED"


def count_call(request: Request, group: Group | None, principal_id: str | None) -> None:
    """Counts a call of a principal, or of its address if there is none; `settle_count` has the verdict.

    While the counters are out of reach everybody is served: a limit protects the service, and must not be what takes
    it down.
    """
    limit = _limits()[group] if group else 0
    if not limit:
        return
    add_header(request, "ratelimit-policy", f'"{group}";q={limit};w={_WINDOW_SECONDS}')
    try:
        verdict = rates().take(f"{group} {principal_id or _address(request)}", limit)
    except Exception as error:  # noqa: BLE001  (whatever it is, the request may still be served)
        _log(error)
        return
    request.scope[_COUNT] = group, verdict
    settle_before_transactions(lambda: settle_count(request))


def settle_count(request: Request) -> None:
    """Tells the caller what is left, once; called before anything takes effect, and before the answer.

    The headers are those of draft-ietf-httpapi-ratelimit-headers-11.

    Raises:
        RateLimited: it was one call too many.
    """
    if _COUNT not in request.scope:
        return
    group, ask = request.scope.pop(_COUNT)
    try:
        verdict = ask()
    except Exception as error:  # noqa: BLE001
        _log(error)
        return
    # Rounded up, so that a call after this time is not too early.
    seconds = -(-verdict.freed_in_us // SECOND_US)
    add_header(request, "ratelimit", f'"{group}";r={verdict.remaining};t={seconds}')
    if not verdict.admitted:
        add_header(request, "retry-after", str(seconds))
        raise RateLimited


def _log(error: Exception) -> None:
    log_exception("calls can't be counted, so they are not limited", error)


@cache
def _limits() -> dict[Group, int]:
    chosen = settings()
    return {
        Group.CLIENT: chosen.rate_limit_client,
        Group.MINER: chosen.rate_limit_miner,
        Group.USER: chosen.rate_limit_user,
    }


def _address(request: Request) -> str:
    """Where the call came from as API Gateway saw it; a header could say anything."""
    told = str(request.scope["aws.event"]["requestContext"]["http"]["sourceIp"])
    try:
        address = ip_address(told)
    except ValueError:
        return told
    if not isinstance(address, IPv6Address):
        return told
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return f"{IPv6Address(int(address) >> _IPV6_SITE_BITS << _IPV6_SITE_BITS)}/{_IPV6_SITE_BITS}"
