"""Errors are named after the rule broken; `coordinator.http.errors` gives each code its HTTP status."""

from inspect import cleandoc
from typing import Any, ClassVar


class CoordinatorError(Exception):
    """Something went wrong."""

    code: ClassVar[str]

    def __init__(self, message: str | None = None, **details: Any) -> None:
        # The docstring of an error is what a person reads unless the raiser knows better.
        self.message = message or cleandoc(type(self).__doc__ or "")
        self.details = details
        super().__init__(self.message)


class Unauthorized(CoordinatorError):
    """A valid key is needed."""

    code = "UNAUTHORIZED"
    # What must be sent, as the header WWW-Authenticate names it.
    scheme: ClassVar[str] = "ApiKey"


class Forbidden(CoordinatorError):
    """This key may not do that."""

    code = "FORBIDDEN"


class InvalidInput(CoordinatorError):
    """The request is not valid."""

    code = "VALIDATION_ERROR"

    @classmethod
    def at(cls, *location: str | int, message: str, kind: str) -> "InvalidInput":
        """Names the one field that is wrong, in the shape of the other field errors."""
        return cls(errors=[{"loc": list(location), "msg": message, "type": kind}])


class PayloadTooLarge(CoordinatorError):
    """The body is larger than 1 MiB."""

    code = "PAYLOAD_TOO_LARGE"
    most_bytes: ClassVar[int] = 1024 * 1024


class NotReady(CoordinatorError):
    """The database can't be reached or is not migrated."""

    code = "NOT_READY"


class ConfigurationError(Exception):
    """A variable of the environment is missing or wrong; the message names it."""
