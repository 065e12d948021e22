"""What is counted of requests, in every function; the public one writes it for Prometheus."""

from bisect import bisect_left
from typing import NamedTuple

from starlette.types import Scope

from coordinator.core.clock import SECOND_US
from coordinator.metrics.counters import counters

_GROUPS = ("client", "miner", "users", "exchange", "admin")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# No label is ever text of a caller's.
_OTHER = "other"
_UNKNOWN = "unknown"
# The long ones are for calls that wait, up to the 30 s after which API Gateway gives up.
BOUNDS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

# Counters are kept by name and label values, with blanks between: none of them has a blank inside.
REQUESTS = "api_requests_total"
DURATION = "api_request_duration_seconds"


class Observed(NamedTuple):
    """A request as it is counted."""

    group: str
    method: str
    route: str
    status: int
    seconds: float

    @classmethod
    def of(cls, scope: Scope, method: str, status: int, seconds: float) -> "Observed":
        """Of a request that is answered, whose scope the router has noted the route in."""
        route = getattr(scope.get("route"), "path", _UNKNOWN)
        path = scope["path"].removeprefix(scope["root_path"])
        group = next((group for group in _GROUPS if path.startswith(f"/v1/{group}/")), "public")
        return cls(group, method if method in _METHODS else _OTHER, route, status, seconds)

    def note(self) -> None:
        bucket = bisect_left(BOUNDS_SECONDS, self.seconds)
        bound = BOUNDS_SECONDS[bucket] if bucket < len(BOUNDS_SECONDS) else "+Inf"
        counters().add(
            {
                f"{REQUESTS} {self.group} {self.method} {self.route} {self.status}": 1,
                f"{DURATION}_bucket {self.group} {self.route} {bound}": 1,
                f"{DURATION}_us {self.group} {self.route}": round(self.seconds * SECOND_US),
            }
        )
