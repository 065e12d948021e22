"""The log of all functions: JSON lines that name the request they belong to, and hold nothing that is secret."""

import traceback
from typing import Any

from aws_lambda_powertools import Logger

logger = Logger(service="aitbc-coordinator", serialize_stacktrace=False)

_LONGEST_MESSAGE = 300


def log_exception(message: str, error: BaseException, **fields: Any) -> None:
    """Logs an error with its traceback, but only the first line of what it says.

    The lines below may quote what was sent: Postgres tells the rows that break a constraint, pydantic the input.
    """
    logger.error(message, extra={**fields, "exception_name": type(error).__name__, "exception": _traceback(error)})


def _traceback(error: BaseException) -> str:
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    first_line = str(error).partition("\n")[0][:_LONGEST_MESSAGE]
    frames = "".join(traceback.format_tb(error.__traceback__))
    return (
        f"{_traceback(before)}\n\nThen:\n\n" if before else ""
    ) + f"Traceback (most recent call last):\n{frames}{type(error).__qualname__}: {first_line}"
