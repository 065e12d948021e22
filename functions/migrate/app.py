"""A CloudFormation custom resource that brings the database to this release's schema when it is deployed.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref.html
"""

import json
from typing import Any
from urllib.request import Request, urlopen

from coordinator.core.config import settings
from coordinator.core.errors import ConfigurationError
from coordinator.core.log import log_exception
from coordinator.migrations import HEAD
from coordinator.migrations.upgrade import SchemaIsNewer, upgrade

_RESOURCE_ID = "database-schema"
_ANSWER_TIMEOUT_SECONDS = 30


def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Migrates on Create and Update; on Delete the data stays. Answers to the event's ResponseURL if it has one."""
    answer: dict[str, Any] = {
        "Status": "SUCCESS",
        "PhysicalResourceId": event.get("PhysicalResourceId", _RESOURCE_ID),
        "Data": {"Revision": HEAD},
        **{name: event[name] for name in ("StackId", "RequestId", "LogicalResourceId") if name in event},
    }
    if event.get("RequestType") != "Delete":
        try:
            upgrade(settings().database)
        except (ConfigurationError, SchemaIsNewer) as error:
            # Its message says all; where in the code it was found helps nobody.
            answer |= {"Status": "FAILED", "Reason": str(error)}
        except Exception as error:  # noqa: BLE001
            # CloudFormation waits an hour for an answer that never comes, so every failure is one.
            log_exception("migration failed", error)
            answer |= {"Status": "FAILED", "Reason": f"{type(error).__name__}: {error}"[:1000]}
    if "ResponseURL" in event:
        _send(event["ResponseURL"], answer)
    return answer


def _send(url: str, answer: dict[str, Any]) -> None:
    body = json.dumps(answer).encode()
    # The pre-signed URL was signed without a content type.
    request = Request(url, data=body, method="PUT", headers={"Content-Type": ""})  # noqa: S310  (from CloudFormation)
    with urlopen(request, timeout=_ANSWER_TIMEOUT_SECONDS):  # noqa: S310
        pass
