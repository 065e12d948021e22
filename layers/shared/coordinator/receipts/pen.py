"""Signing a receipt in a transaction without waiting for a network in it."""

from collections.abc import Callable
from typing import TypeVar

from coordinator.core.ids import new_id
from coordinator.receipts.errors import SigningUnavailable
from coordinator.receipts.signing import Signer, receipt_signer

T = TypeVar("T")

# The first one misses the signature. Later ones do if what is signed has changed: the miner has registered anew.
_MOST_RUNS = 4


class _SignatureMissing(Exception):
    """The transaction can't go on without this signature."""

    def __init__(self, message: bytes) -> None:
        self.message = message
        super().__init__("to be signed outside of the transaction")


class Pen:
    """Signs one receipt, over all runs of the transaction that issues it.

    A transaction holds locks and the process's one connection, so a remote signer can't be asked in it. There the first
    run goes as far as to the signature and is undone; the signature is made; the next run judges everything anew and
    finds it. So that it states the same, id and time of the receipt are those of the first run. A local signer signs
    in the only run.
    """

    def __init__(self) -> None:
        signer = receipt_signer()
        self.algorithm, self.kid, self.remote = signer.algorithm, signer.kid, signer.remote
        self.public_jwk = signer.public_jwk
        self.receipt_id = new_id()
        self._signer: Signer = signer
        self._time_us: int | None = None
        self._signatures: dict[bytes, bytes] = {}

    def time_us(self, now_us: int) -> int:
        """When the receipt is made: at the time that was given first."""
        if self._time_us is None:
            self._time_us = now_us
        return self._time_us

    def sign(self, message: bytes) -> bytes:
        if not self.remote:
            return self._signer.sign(message)
        if message not in self._signatures:
            raise _SignatureMissing(message)
        return self._signatures[message]

    def write(self, write: Callable[[], T]) -> T:
        """Runs a transaction that signs with this pen, as often as it takes.

        Raises:
            SigningUnavailable: it can't be signed; the transaction was undone.
        """
        for _ in range(_MOST_RUNS):
            try:
                return write()
            except _SignatureMissing as missing:
                self._signatures[missing.message] = self._signer.sign(missing.message)
        raise SigningUnavailable
