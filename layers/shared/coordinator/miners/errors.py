from coordinator.core.errors import CoordinatorError, Forbidden


class MinerNotFound(CoordinatorError):
    """This miner is not registered; register it first."""

    code = "MINER_NOT_FOUND"


class NoSuchMiner(MinerNotFound):
    """There is no such miner."""


class MinerIdRequired(CoordinatorError):
    """This key runs several miners; name one in the header X-Miner-Id."""

    code = "MINER_ID_REQUIRED"


class MinerDisabled(Forbidden):
    """The operator has disabled this miner."""
