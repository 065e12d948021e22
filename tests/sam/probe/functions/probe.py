"""Answers with its event, or does what the query asks for."""

import json
import os
import time
from typing import Any


def handler(event: dict[str, Any], _context: Any) -> Any:
    told = event.get("queryStringParameters") or {}
    if "sleep" in told:
        time.sleep(float(told["sleep"]))
    if "exit" in told:
        os._exit(3)
    if "raise" in told:
        raise ValueError("as asked")
    if "size" in told:
        return {"statusCode": 200, "headers": {"content-type": "text/plain"}, "body": "x" * int(told["size"])}
    if "answer" in told:
        # Whatever the function answers, as JSON.
        return json.loads(event["body"])
    if "pid" in told:
        return {"statusCode": 200, "headers": {"content-type": "text/plain"}, "body": str(os.getpid())}
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(event)}
