"""Settings that are secret: given as they are, or kept in AWS and named by ARN."""

import re
import time
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Any, Generic, Protocol, TypeVar

from coordinator.core.errors import ConfigurationError
from coordinator.core.log import log_exception

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")

_ARN = re.compile(r"arn:[a-z-]+:(?:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:|ssm:[a-z0-9-]+:[0-9]{12}:parameter/).+")
# How long what was read is good, and how long AWS is left alone after it could not be read again.
_GOOD_SECONDS = 300
_PAUSE_SECONDS = 60
_CURRENT = (None,)
# Of a secret that is replaced: what is in use, what is about to be, what was.
# https://docs.aws.amazon.com/secretsmanager/latest/userguide/whats-in-a-secret.html#term_version
_ALL_STAGES = ("AWSCURRENT", "AWSPENDING", "AWSPREVIOUS")


class Secret(Protocol[T_co]):
    @property
    def value(self) -> T_co:
        """What it is now.

        Raises:
            ConfigurationError: it can't be read, or is not as it should be.
        """

    def renew(self) -> bool:
        """Reads it again, and tells whether it has changed; if it can't be read, it stays as it was.

        Raises:
            ConfigurationError: it can't be read, or is not as it should be.
        """


class Given(Generic[T]):
    """A secret that stands in the environment, and so stays as long as the process."""

    def __init__(self, value: T) -> None:
        self.value = value

    def renew(self) -> bool:
        return False


class Kept(Generic[T]):
    """A secret in AWS: read when it is first needed, so that each function reads only what it uses.

    `parse` makes the value from the texts: one, or the present one and those before and after it if `all_stages`.
    """

    def __init__(
        self, variable: str, arn: str, parse: Callable[[tuple[str, ...]], T], *, all_stages: bool = False
    ) -> None:
        if _ARN.fullmatch(arn) is None:
            raise ConfigurationError(f"{variable} must be the ARN of a secret of Secrets Manager or a parameter of SSM")
        self._variable = variable
        self._arn = arn
        self._parse = parse
        self._stages = _ALL_STAGES if all_stages and ":secretsmanager:" in arn else _CURRENT
        self._lock = Lock()
        self._read: tuple[tuple[str, ...], T] | None = None
        # By the machine's clock: the other one may stand still while Lambda keeps a snapshot of this process.
        self._good_until = 0.0

    @property
    def value(self) -> T:
        if self._read is None:
            self.renew()
        assert self._read is not None  # noqa: S101  (or the line above has raised)
        return self._read[1]

    def renew(self) -> bool:
        with self._lock:
            texts = self._texts()
            self._good_until = time.time() + _GOOD_SECONDS
            if self._read is not None and self._read[0] == texts:
                return False
            try:
                self._read = texts, self._parse(texts)
            except ConfigurationError as error:
                raise ConfigurationError(f"{self._variable}: {error}") from None
            return True

    @property
    def old(self) -> bool:
        """Whether it was read, and some minutes ago."""
        return self._read is not None and time.time() >= self._good_until

    def leave_alone(self) -> None:
        """Makes it not old for a while."""
        self._good_until = time.time() + _PAUSE_SECONDS

    def _texts(self) -> tuple[str, ...]:
        # Few processes need boto3, which takes long to import.
        from coordinator.core.aws import NotThere, fetch  # noqa: PLC0415

        texts: list[str] = []
        for stage in self._stages:
            try:
                texts.append(fetch(self._arn, stage).strip())
            except NotThere as error:
                if not texts:
                    raise self._unreadable(error) from None
            except ConfigurationError as error:
                raise self._unreadable(error) from None
        return tuple(dict.fromkeys(texts))

    def _unreadable(self, error: ConfigurationError) -> ConfigurationError:
        return ConfigurationError(f"{self._variable}: {self._arn} {error}")


def renew_old(secrets: Iterable[Kept[Any]]) -> bool:
    """Reads again what is old, and tells whether any of it has changed.

    What can't be read stays as it was, and the log says why. A request that waited for one in vain waits for no other.
    """
    changed = False
    for secret in secrets:
        if not secret.old:
            continue
        try:
            changed |= secret.renew()
        except ConfigurationError as error:
            secret.leave_alone()
            log_exception("a secret can't be read again, so it stays as it was", error)
            break
    return changed
