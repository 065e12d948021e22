"""What is told of each request when it is answered: a line in the log, and in Lambda figures for CloudWatch."""

import logging
from functools import cache
from typing import TYPE_CHECKING, Any

from starlette.types import Scope

from coordinator.core.config import in_lambda
from coordinator.core.ids import is_id
from coordinator.core.log import logger
from coordinator.http.metrics import Observed

if TYPE_CHECKING:
    from aws_lambda_powertools import Metrics

_SERVER_ERROR = 500


def tell(scope: Scope, observed: Observed, request_id: str, location: str) -> None:
    """Tells of a request; `location` is the Location of its answer, which names what it has created."""
    if logger.log_level <= logging.INFO:
        told = {
            "request_id": request_id,
            **observed._asdict(),
            "principal_id": getattr(scope.get("state", {}).get("principal"), "id", None),
            "job_id": _job_id(scope, location),
            "miner_id": _header(scope, b"x-miner-id"),
        }
        told["duration_ms"] = round(told.pop("seconds") * 1000, 1)
        logger.info("request", extra={name: value for name, value in told.items() if value is not None})
    if in_lambda():
        _emit(observed)


def _job_id(scope: Scope, location: str) -> str | None:
    """The job that a request is about: by its path, its body or what it has created."""
    body = scope.get("state", {}).get("json")
    named = (
        scope.get("path_params", {}).get("job_id"),
        body.get("job_id") if isinstance(body, dict) else None,
        location.rpartition("/v1/client/jobs/")[2],
    )
    return next((name for name in named if _is_id(name)), None)


def _header(scope: Scope, wanted: bytes) -> str | None:
    values = (value.decode("latin-1") for name, value in scope["headers"] if name == wanted)
    return next((value for value in values if _is_id(value)), None)


def _is_id(value: Any) -> bool:
    """Whatever else stands where an id should may be a secret, also a UUID of another version."""
    return isinstance(value, str) and is_id(value) and value[14] == "7"


@cache
def _metrics() -> "Metrics":
    from aws_lambda_powertools import Metrics  # noqa: PLC0415  (only Lambda needs it)

    return Metrics(namespace="aitbc-coordinator", service="aitbc-coordinator")


def _emit(observed: Observed) -> None:
    """Writes the line from which CloudWatch takes its metrics (Embedded Metric Format)."""
    metrics = _metrics()
    metrics.add_dimension(name="group", value=observed.group)
    metrics.add_metric(name="Requests", unit="Count", value=1)
    metrics.add_metric(name="Errors", unit="Count", value=int(observed.status >= _SERVER_ERROR))
    metrics.add_metric(name="Duration", unit="Milliseconds", value=observed.seconds * 1000)
    metrics.flush_metrics()
