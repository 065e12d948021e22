"""EventBridge Scheduler's part: calls functions at their rates."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from local.environments import FunctionFailed, Functions, FunctionTimedOut, ShuttingDown
from local.template import Schedule


async def run_schedule(schedule: Schedule, functions: Functions, log_failure: Callable[[str, str], None]) -> None:
    """Calls the function once each period, first after one period; a run that takes longer delays the next."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        due = max(due + schedule.period_seconds, loop.time())
        await asyncio.sleep(due - loop.time())
        try:
            await functions.invoke(schedule.function, _event(schedule))
        except (FunctionFailed, FunctionTimedOut) as error:
            log_failure(f"{schedule.function} (schedule {schedule.name})", str(error))
        except ShuttingDown:
            return


def _event(schedule: Schedule) -> dict[str, Any]:
    """The event of a schedule without an input of its own.

    https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-universal.html
    """
    return {
        "version": "0",
        "id": str(uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.scheduler",
        "account": "123456789012",
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": "us-east-1",
        "resources": [f"arn:aws:scheduler:us-east-1:123456789012:schedule/default/{schedule.name}"],
        "detail": "{}",
    }
