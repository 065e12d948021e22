from coordinator.core.errors import CoordinatorError


class JobNotFound(CoordinatorError):
    """There is no such job."""

    code = "JOB_NOT_FOUND"


class InvalidJobType(CoordinatorError):
    """This job type is not supported."""

    code = "INVALID_JOB_TYPE"


class JobNotReady(CoordinatorError):
    """The job has no result yet."""

    code = "JOB_NOT_READY"


class JobFinished(CoordinatorError):
    """The job is finished."""

    code = "JOB_FINISHED"


class JobCancelled(CoordinatorError):
    """The job was cancelled."""

    code = "JOB_CANCELLED"


class LeaseLost(CoordinatorError):
    """This lease no longer holds the job."""

    code = "LEASE_LOST"


class ResultConflict(CoordinatorError):
    """Another answer to this job was accepted before."""

    code = "RESULT_CONFLICT"


class BadSignature(CoordinatorError):
    """The signature does not match the miner's public key."""

    code = "BAD_SIGNATURE"
