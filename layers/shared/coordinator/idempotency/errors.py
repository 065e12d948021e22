from coordinator.core.errors import CoordinatorError


class IdempotencyKeyReused(CoordinatorError):
    """This Idempotency-Key was used for another request; send a key of its own with each."""

    code = "IDEMPOTENCY_KEY_REUSED"


class IdempotencyInProgress(CoordinatorError):
    """The first request with this Idempotency-Key is still running; repeat this one for its answer."""

    code = "IDEMPOTENCY_IN_PROGRESS"
